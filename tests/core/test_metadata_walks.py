"""Random walks over the store: states stay valid, refusals change nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.metadata_records import TWO, altered, led, ok
from yak_core.fork import fork_of
from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import (
    PartitionState,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.store_calls import Cas, Refusal, Refused, RenewLease, StoreOk
from yak_core.metadata.transitions import (
    Rejected,
    alter_isr,
    check_partition_state,
    check_step,
    create,
    elect,
    register,
)
from yak_core.model.store import StoreModel

NODES = ("n1", "n2", "n3", "n4")
STEPS = st.tuples(
    st.sampled_from(["register", "elect", "alter", "alter", "beat"]),
    st.integers(0, 3),  # which node acts
    st.integers(0, 15),  # who is in the new ISR, or whether the restart was clean
    st.sampled_from([0, 0, 0, 1, 2]),  # number of writes that the caller has not seen
    st.sampled_from([0, 0, 0, 1]),  # 1: a broker epoch that is not registered
)
Step = tuple[str, int, int, int, int]


def proposal(base: PartitionState, step: Step, attempt: str) -> PartitionState | Rejected:
    """Return the state that the step's node would write from ``base``."""
    kind, who, bits, _, skew = step
    node = NODES[who]
    if kind == "register":
        return register(base, attempt=attempt, node=node, clean=bits % 3 > 0, url=f"u{bits}")
    if kind == "elect":
        able = tuple(n for n in (*base.isr, *base.elr) if n != base.leader)
        node = able[who % len(able)] if able and bits > 1 else node
        broker_epoch = base.broker_epoch_of(node) + skew
        return elect(base, attempt=attempt, node=node, broker_epoch=BrokerEpoch(broker_epoch))
    if base.leader is not None and bits > 1:
        node = base.leader
    # Mostly nodes that may join, so that the walk proceeds; with 15 any node.
    known = tuple(n for n in NODES if base.node(n) is not None or bits == 15)
    isr = tuple(n for i, n in enumerate(known) if bits >> i & 1 or n == node)
    added = tuple(
        (n, BrokerEpoch(base.broker_epoch_of(n) + skew)) for n in isr if n not in base.isr
    )
    broker_epoch = base.broker_epoch_of(node)
    return alter_isr(
        base, attempt=attempt, node=node, broker_epoch=broker_epoch, isr=isr, added=added
    )


def walk(min_isr: int, replicas: int, steps: list[Step], seen: Counter[str]) -> None:
    """Run the steps on one store, with checks after each."""
    store = StoreModel()
    start = create(
        store_id="s", attempt="0", node="n1", url="", replicas=NODES[:replicas], min_isr=min_isr
    )
    assert isinstance(store.apply(Cas(None, start, None)), StoreOk)
    had_min_isr = False
    for number, step in enumerate(steps, start=1):
        if step[0] == "beat":
            store.apply(RenewLease(NODES[step[1]], BrokerEpoch(1), None))
            continue
        assert store.state is not None
        had_min_isr = had_min_isr or len(store.state.isr) >= store.state.effective_min_isr
        base = store.history[max(0, len(store.history) - 1 - step[3])]
        before, bytes_before = fork_of(store), encode_partition_state(base)
        proposed = proposal(base, step, str(number))
        assert encode_partition_state(base) == bytes_before
        if isinstance(proposed, Rejected):
            seen["rejected"] += 1
            continue
        assert check_partition_state(proposed) == ()
        assert check_step(base, proposed) == ()
        assert decode_partition_state(encode_partition_state(proposed)) == proposed
        guard = None if base.leader is None else (base.leader, step[2] % 2)
        outcome = store.apply(Cas(base.stamp, proposed, guard if step[0] == "elect" else None))
        if isinstance(outcome, Refused):
            seen[f"refused by {outcome.reason}"] += 1
            assert (store.state, store.history) == (before.state, before.history)
            assert (store.renewals, store.status) == (before.renewals, before.status)
            assert (outcome.reason == Refusal.STAMP) == (base != store.state)
        else:
            seen[step[0]] += 1
            assert store.state == proposed
        if had_min_isr and not store.state.isr and not store.state.elr:
            # The replicas that may hold all committed records are recorded.
            seen["no broker eligible"] += 1
            assert len(store.state.last_known_eligible) >= store.state.effective_min_isr


@pytest.mark.parametrize("budget", [60, pytest.param(150, marks=pytest.mark.long)])
def test_any_sequence_of_calls_keeps_the_record_sound(budget: int) -> None:
    """Goal: every write is well formed. Method: check the state after each write of the walks."""
    seen: Counter[str] = Counter()

    @settings(max_examples=budget, database=None)
    @given(st.integers(1, 4), st.integers(2, 4), st.lists(STEPS, min_size=20, max_size=60))
    def run(min_isr: int, replicas: int, steps: list[Step]) -> None:
        walk(min_isr, replicas, steps, seen)

    run()
    for kind in (
        "register",
        "elect",
        "alter",
        "rejected",
        "refused by stamp",
        "refused by guard",
        "no broker eligible",
    ):
        assert seen[kind] >= 10, seen


def stored(state: PartitionState) -> StoreModel:
    """Return a store that holds ``state``."""
    store = StoreModel()
    store.state = state
    return store


def test_old_isr_request_does_not_undo_a_registration() -> None:
    """F17 and F23: n3 lost its log and left the ISR; an older proposal with n3 arrives late."""
    base = led()
    late = Cas(base.stamp, ok(altered(base, ("n1", "n3"))), None)
    now = ok(register(base, attempt="r", node="n3", clean=False, url=""))
    store = stored(now)
    outcome = store.apply(late)
    assert isinstance(outcome, Refused)
    assert outcome.reason == Refusal.STAMP
    assert store.state == now


def test_node_does_not_join_by_acks_of_an_earlier_start() -> None:
    """F21: n3 caught up, crashed and registered before the proposal; F20: nor later."""
    late = Cas(TWO.stamp, ok(altered(TWO, ("n1", "n2", "n3"), ("n3", 3))), None)
    now = ok(register(TWO, attempt="r", node="n3", clean=False, url=""))
    assert isinstance(stored(now).apply(late), Refused)
    assert isinstance(altered(now, ("n1", "n2", "n3"), ("n3", 3)), Rejected)


def test_late_copy_of_a_refused_proposal_stays_refused() -> None:
    """F19: two copies of a proposal with a registration between; none counts as new."""
    request = Cas(TWO.stamp, ok(altered(TWO, ("n1", "n2", "n3"), ("n3", 3))), None)
    now = ok(register(TWO, attempt="r", node="n3", clean=False, url=""))
    store = stored(now)
    first_answer = store.apply(request)
    newer = ok(altered(now, ("n1", "n2", "n3"), ("n3", now.partition_epoch)))
    assert isinstance(store.apply(Cas(now.stamp, newer, None)), StoreOk)
    second_answer = store.apply(request)
    assert isinstance(first_answer, Refused)
    assert isinstance(second_answer, Refused)
    assert store.state == newer
