"""Calls for the stores, drawn by Hypothesis: valid ones and near misses."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.core.metadata_records import ok
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, Stamp
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import (
    Cas,
    MetaRequest,
    Publish,
    Read,
    Refused,
    RenewLease,
    StoreOk,
)
from yak_core.metadata.transitions import create, elect, register
from yak_core.model.store import StoreModel

NODES = ("n1", "n2", "a:1 b", "ñ\U0001f600")
FIRST = create(
    store_id="s1", attempt="a0", node="n1", url="http://h1", replicas=("n1", "n2"), min_isr=2
)

KINDS = (
    "flush",
    "Read",
    "RenewLease",
    "beat unchanged",
    "Cas",
    "guarded cas",
    "refused by stamp",
    "refused by guard",
    "Publish",
)
"""Kinds of calls that a run must exercise; see :func:`kind_of`."""

OPS = st.tuples(
    st.sampled_from(["read", "beat", "beat", "cas", "cas", "cas", "publish", "flush"]),
    st.integers(0, 7),  # which stamp is named
    st.integers(0, 3),  # which node
    st.integers(0, 7),  # which guard; which proposal
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
Op = tuple[str, int, int, int, str]


def named_stamp(model: StoreModel, choice: int) -> Stamp | None:
    """Return the stored stamp mostly; else none, an old one, or a forged one."""
    if choice == 7 or not model.history:
        return None
    if choice == 6:
        return model.history[0].stamp
    version, attempt = model.history[-1].stamp
    return {5: (version, attempt + "'"), 4: (version + 1, attempt)}.get(choice, (version, attempt))


def request_of(model: StoreModel, op: Op, number: int) -> MetaRequest:
    """Return a call that fits the present state or narrowly misses it."""
    kind, stamp_choice, who, choice, text = op
    node = NODES[who]
    if kind == "read":
        return Read()
    if kind == "beat":
        return RenewLease(node, BrokerEpoch(1 + choice), named_stamp(model, stamp_choice))
    if kind == "publish":
        return Publish(tuple((f"{text}{i}", text) for i in range(choice)))
    expected = named_stamp(model, stamp_choice)
    count = model.renewals[node][1] if node in model.renewals else 0
    guards = {
        7: (node, count + 1),
        6: (node, max(0, count - 1)),
        5: (node, count),
        4: (node, count),
    }
    return Cas(expected, proposed(model.state, choice, text, f"a{number}"), guards.get(choice))


def proposed(base: PartitionState | None, choice: int, text: str, attempt: str) -> PartitionState:
    """Return a state that a node might write; the store accepts any."""
    if base is None:
        return replace(FIRST, attempt=attempt, store_id=text or "s1")
    grown = elect(
        base,
        attempt=attempt,
        node="n1",
        broker_epoch=base.broker_epoch_of("n1") if choice else NO_BROKER_EPOCH,
    )
    if not isinstance(grown, PartitionState):
        node = base.replicas[choice % 2]
        grown = register(base, attempt=attempt, node=node, clean=choice < 4, url=text)
    return ok(grown)


def kind_of(request: MetaRequest, outcome: object) -> str:
    """Return the kind of a call and its outcome."""
    if isinstance(outcome, Refused):
        return f"refused by {outcome.reason}"
    if isinstance(request, Cas) and request.guard is not None:
        return "guarded cas"
    if isinstance(request, RenewLease) and isinstance(outcome, StoreOk) and outcome.value.unchanged:
        return "beat unchanged"
    return type(request).__name__
