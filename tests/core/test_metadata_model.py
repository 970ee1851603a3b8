"""Answer and effect of each call of the store model. Method: single calls, whole state compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import (
    NO_VALUE,
    Cas,
    MetaValue,
    Publish,
    Read,
    Refusal,
    Refused,
    RenewLease,
    StoreOk,
)
from yak_core.metadata.transitions import create, register
from yak_core.model.store import StoreModel

FIRST = create(
    store_id="s1", attempt="a1", node="n1", url="u1", replicas=("n1", "n2", "n3"), min_isr=2
)


def second(attempt: str = "a2", node: str = "n2") -> PartitionState:
    """Return a state that may follow FIRST."""
    grown = register(FIRST, attempt=attempt, node=node, clean=False, url="u")
    assert isinstance(grown, PartitionState)
    return grown


def created() -> StoreModel:
    """Return a store that holds FIRST."""
    store = StoreModel()
    assert store.apply(Cas(None, FIRST, None)) == StoreOk(MetaValue(FIRST, False, ()))
    return store


def test_empty_store_answers_with_nothing() -> None:
    assert StoreModel().apply(Read()) == StoreOk(MetaValue(None, False, ()))


def test_record_is_created_once() -> None:
    store = created()
    other = replace(FIRST, attempt="b1")
    refused = store.apply(Cas(None, other, None))
    assert refused == Refused(Refusal.STAMP, MetaValue(FIRST, False, ()))
    assert store.history == [FIRST]


def test_write_needs_the_stored_version_and_attempt() -> None:
    """F17 and F81: an old request arrives late; F80: same version, another attempt."""
    store = created()
    assert isinstance(store.apply(Cas((1, "b1"), second(), None)), Refused)
    assert isinstance(store.apply(Cas((2, "a1"), second(), None)), Refused)
    assert store.state == FIRST
    assert store.apply(Cas((1, "a1"), second(), None)) == StoreOk(MetaValue(second(), False, ()))
    late = store.apply(Cas((1, "a1"), second("b2", "n3"), None))
    assert late == Refused(Refusal.STAMP, MetaValue(second(), False, ()))
    assert store.history == [FIRST, second()]


def test_a_repeated_write_is_refused_and_shows_its_own_stamp() -> None:
    """F18 and F36: after Unknown the same bytes are sent again and find their own stamp."""
    store = created()
    request = Cas(FIRST.stamp, second(), None)
    store.apply(request)
    again = store.apply(request)
    assert isinstance(again, Refused)
    assert again.current.state == request.state
    assert store.history == [FIRST, second()]


def test_write_on_an_empty_store_needs_expected_none() -> None:
    store = StoreModel()
    refused = store.apply(Cas((1, "a1"), second(), None))
    assert refused == Refused(Refusal.STAMP, MetaValue(None, False, ()))
    assert store.state is None


def test_guard_holds_only_without_a_lease_renewal() -> None:
    """F49 and F84: a leader that renews its lease cannot be deposed."""
    store = created()
    assert isinstance(store.apply(Cas((1, "a1"), second(), ("n1", 1))), Refused)
    store.apply(RenewLease("n1", BrokerEpoch(1), None))
    refused = store.apply(Cas((1, "a1"), second(), ("n1", 0)))
    assert refused == Refused(Refusal.GUARD, MetaValue(FIRST, False, (("n1", BrokerEpoch(1), 1),)))
    assert store.state == FIRST
    assert isinstance(store.apply(Cas((1, "a1"), second(), ("n1", 1))), StoreOk)


def test_guard_of_a_node_without_a_renewal_is_zero() -> None:
    assert isinstance(created().apply(Cas((1, "a1"), second(), ("n9", 0))), StoreOk)


def test_stamp_is_named_before_guard() -> None:
    refused = created().apply(Cas((1, "b1"), second(), ("n1", 7)))
    assert isinstance(refused, Refused)
    assert refused.reason == Refusal.STAMP


def test_lease_counters_only_grow_and_have_the_given_broker_epoch() -> None:
    store = created()
    store.apply(RenewLease("n2", BrokerEpoch(4), None))
    store.apply(RenewLease("n1", BrokerEpoch(1), None))
    answer = store.apply(RenewLease("n2", BrokerEpoch(9), None))
    assert answer == StoreOk(
        MetaValue(FIRST, False, (("n1", BrokerEpoch(1), 1), ("n2", BrokerEpoch(9), 2)))
    )
    assert answer.value.renewals_of("n2") == 2
    assert answer.value.renewals_of("n3") == 0


@pytest.mark.parametrize(
    ("known", "unchanged"),
    [(None, False), ((1, "a1"), True), ((1, "b1"), False), ((2, "a1"), False)],
)
def test_renewal_omits_a_known_state(
    known: tuple[int, str] | None, unchanged: bool
) -> None:
    answer = created().apply(RenewLease("n1", BrokerEpoch(1), known))
    state = None if unchanged else FIRST
    assert answer == StoreOk(MetaValue(state, unchanged, (("n1", BrokerEpoch(1), 1),)))


@pytest.mark.parametrize("known", [None, (1, "a1")])
def test_renewal_shows_that_the_state_is_lost(known: tuple[int, str] | None) -> None:
    """F80: a node with a state must see that the store has none."""
    assert StoreModel().apply(RenewLease("n1", BrokerEpoch(1), known)) == StoreOk(
        MetaValue(None, False, (("n1", BrokerEpoch(1), 1),))
    )


def test_renewal_needs_a_registration() -> None:
    with pytest.raises(AssertionError):
        created().apply(RenewLease("n1", BrokerEpoch(0), None))


def test_status_is_replaced_alone() -> None:
    store = created()
    assert store.apply(Publish((("leader", "n1"), ("leo:n2", "4")))) == StoreOk(NO_VALUE)
    assert store.apply(Publish((("leader", "n2"),))) == StoreOk(NO_VALUE)
    assert store.status == {"leader": "n2"}
    assert (store.state, store.renewals, store.history) == (FIRST, {}, [FIRST])
