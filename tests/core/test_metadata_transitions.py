"""Each transition of the partition state. Method: one transition, its whole effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.core.metadata_records import TWO, altered, drained, first, led, ok, sets, shrunk
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.metadata.partition_state import (
    ANCESTORS_MAX,
    SCHEMA,
    NodeEntry,
    PartitionState,
    Recovery,
)
from yak_core.metadata.transitions import Rejected, create, elect, elr_after, register

# T0


def test_creator_is_registered_and_alone_in_the_isr() -> None:
    state = first()
    assert state.stamp == (1, "a1")
    assert state.ancestors == ()
    assert sets(state) == (("n1",), (), ())
    entry = NodeEntry(BrokerEpoch(1), True, False, "u1", Epoch(-1), -1, "", SCHEMA)
    assert state.nodes == (("n1", entry),)
    assert (state.leader, state.leader_broker_epoch, state.leader_epoch) == (None, 0, 0)
    assert (state.recovery, state.unclean_policy, state.last_leader) == (
        "recovered",
        "never",
        None,
    )


@pytest.mark.parametrize(
    "mistake",
    [
        {"node": "n9"},
        {"replicas": ("n2", "n1")},
        {"replicas": ("n1", "n1")},
        {"min_isr": 0},
        {"store_id": ""},
        {"attempt": ""},
    ],
    ids=str,
)
def test_create_asserts_its_arguments(mistake: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "store_id": "s1",
        "attempt": "a1",
        "node": "n1",
        "url": "u1",
        "replicas": ("n1", "n2"),
        "min_isr": 1,
    }
    make: Callable[..., PartitionState] = create
    assert isinstance(make(**arguments), PartitionState)
    with pytest.raises(AssertionError):
        make(**{**arguments, **mistake})


# T1


ONE, TWO_OF_THREE = shrunk(led(), ("n1",)), shrunk(led(), ("n1", "n2"))


@pytest.mark.parametrize(
    ("state", "node", "clean", "isr", "elr", "last_known"),
    [
        *((ONE, node, True, "n1", "n2 n3", "") for node in ("n1", "n2", "n3")),
        (led(), "n2", False, "n1 n3", "", ""),
        (TWO_OF_THREE, "n2", False, "n1", "", "n2"),
        (ONE, "n2", False, "n1", "n3", "n2"),
        (ONE, "n1", False, "", "n2 n3", "n1"),
        (first(), "n1", False, "", "", "n1"),
        (shrunk(led(isr=("n1", "n2")), ("n1",)), "n3", False, "n1", "n2", ""),
    ],
)
def test_only_an_unclean_registration_changes_the_sets(
    state: PartitionState, node: str, clean: bool, isr: str, elr: str, last_known: str
) -> None:
    """F29: an unclean node may have lost acknowledged records, so it leaves every set."""
    grown = ok(register(state, attempt="r", node=node, clean=clean, url="u"))
    assert sets(grown) == (tuple(isr.split()), tuple(elr.split()), tuple(last_known.split()))
    assert grown.stamp == (state.partition_epoch + 1, "r"), "F23: no older proposal matches"
    assert grown.node(node) == NodeEntry(
        BrokerEpoch(grown.partition_epoch), clean, False, "u", Epoch(-1), -1, "", SCHEMA
    )


def test_last_replica_standing_is_removed_when_unclean() -> None:
    """F28: the ELR replaces a leader that may have lost committed records."""
    state = shrunk(shrunk(led(), ("n1", "n2")), ("n1",))
    state = ok(register(state, attempt="r", node="n1", clean=False, url="u1"))
    assert sets(state) == ((), ("n2",), ("n1",))
    back = elect(state, attempt="e", node="n1", broker_epoch=state.broker_epoch_of("n1"))
    assert back == Rejected("n1 is in neither ISR nor ELR")
    assert sets(ok(elect(state, attempt="e", node="n2", broker_epoch=BrokerEpoch(2)))) == (
        ("n2",),
        (),
        ("n1",),
    )


@pytest.mark.parametrize("clean", [True, False])
def test_registration_ends_the_own_leadership(clean: bool) -> None:
    """F41: otherwise a restarted leader could append two records with one epoch and offset."""
    state = ok(register(led(), attempt="r", node="n1", clean=clean, url="u1"))
    assert (state.leader, state.leader_broker_epoch, state.leader_epoch) == (None, 0, 2)
    assert state.last_leader == "n1"


def test_registration_of_another_node_keeps_the_leader() -> None:
    state = ok(register(led(), attempt="r", node="n2", clean=False, url="u2"))
    assert (state.leader, state.leader_epoch, state.last_leader) == ("n1", 1, None)


def test_registration_ends_draining_and_clears_evidence() -> None:
    state = drained(led(), "n2")
    nodes = tuple(
        (node, replace(entry, last_epoch=Epoch(1), leo=5) if node == "n2" else entry)
        for node, entry in state.nodes
    )
    state = ok(register(replace(state, nodes=nodes), attempt="r", node="n2", clean=True, url="u"))
    assert state.node("n2") == NodeEntry(
        BrokerEpoch(state.partition_epoch), True, False, "u", Epoch(-1), -1, "", SCHEMA
    )


def test_unknown_node_cannot_register() -> None:
    outcome = register(led(), attempt="r", node="n9", clean=True, url="")
    assert outcome == Rejected("n9 is not a replica")


# T3


def test_elected_from_the_isr_deposes_the_leader() -> None:
    state = ok(elect(led(), attempt="e", node="n2", broker_epoch=BrokerEpoch(2)))
    assert (state.leader, state.leader_broker_epoch, state.leader_epoch) == ("n2", 2, 2)
    assert state.last_leader == "n1"
    assert sets(state) == (("n2", "n3"), (), ())


def test_deposed_leader_stays_eligible_below_min_isr() -> None:
    state = ok(elect(led(isr=("n1", "n2")), attempt="e", node="n2", broker_epoch=BrokerEpoch(2)))
    assert sets(state) == (("n2",), ("n1",), ())


def test_elected_from_the_elr_joins_the_isr() -> None:
    state = ok(register(shrunk(led(), ("n1",)), attempt="r", node="n1", clean=True, url="u1"))
    assert sets(state) == (("n1",), ("n2", "n3"), ())
    state = ok(elect(state, attempt="e", node="n3", broker_epoch=BrokerEpoch(3)))
    assert sets(state) == (("n1", "n3"), (), ())
    assert (state.leader, state.leader_epoch, state.last_leader) == ("n3", 3, "n1")


def test_election_ends_recovery() -> None:
    state = replace(led(isr=("n1",)), recovery=Recovery.RECOVERING)
    state = ok(register(state, attempt="r", node="n1", clean=True, url="u1"))
    elected = ok(
        elect(state, attempt="e", node="n1", broker_epoch=BrokerEpoch(state.partition_epoch))
    )
    assert elected.recovery == "recovered"


def test_full_clean_restart_needs_one_node_back() -> None:
    state = led()
    for node in state.replicas:
        state = ok(register(state, attempt=f"r{node}", node=node, clean=True, url=""))
    assert sets(state) == (("n1", "n2", "n3"), (), ())
    state = ok(elect(state, attempt="e", node="n3", broker_epoch=state.broker_epoch_of("n3")))
    assert sets(state) == (("n1", "n2", "n3"), (), ())


# T4


def test_leader_shrinks_and_leavers_are_not_eligible_at_min_isr() -> None:
    assert sets(shrunk(led(), ("n1", "n3"))) == (("n1", "n3"), (), ())


def test_leavers_stay_eligible_below_min_isr() -> None:
    assert sets(shrunk(led(), ("n1",))) == (("n1",), ("n2", "n3"), ())


def test_expansion_to_min_isr_empties_elr_and_last_known() -> None:
    state = ok(register(shrunk(led(), ("n1",)), attempt="r", node="n2", clean=False, url=""))
    assert sets(state) == (("n1",), ("n3",), ("n2",))
    state = ok(altered(state, ("n1", "n2"), ("n2", state.broker_epoch_of("n2"))))
    assert sets(state) == (("n1", "n2"), (), ())


def test_returned_member_is_not_last_known() -> None:
    state = ok(
        register(shrunk(led(min_isr=3), ("n1",)), attempt="r", node="n2", clean=False, url="")
    )
    state = ok(altered(state, ("n1", "n2"), ("n2", state.partition_epoch)))
    assert sets(state) == (("n1", "n2"), ("n3",), ())


def test_min_isr_above_the_replica_count_counts_as_all_of_them() -> None:
    """F27: the number in the record decides, bounded by the replicas."""
    assert sets(led(min_isr=9)) == (("n1", "n2", "n3"), (), ())
    assert sets(shrunk(led(min_isr=9), ("n1", "n2"))) == (("n1", "n2"), ("n3",), ())
    assert sets(shrunk(led(min_isr=1), ("n1",))) == (("n1",), (), ())


@pytest.mark.parametrize("isr", [("n2", "n1"), ("n1", "n1")])
def test_unsorted_isr_is_an_assertion_error(isr: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        altered(TWO, isr)


@pytest.mark.parametrize("attempt", ["", TWO.attempt])
def test_attempt_id_names_one_write(attempt: str) -> None:
    with pytest.raises(AssertionError):
        register(TWO, attempt=attempt, node="n1", clean=True, url="")


def test_ancestors_are_the_last_32_stamps_newest_first() -> None:
    state = first()
    stamps = [state.stamp]
    for start in range(40):
        state = ok(register(state, attempt=f"r{start}", node="n1", clean=True, url=""))
        stamps.insert(0, state.stamp)
    assert (state.stamp, *state.ancestors) == tuple(stamps[: ANCESTORS_MAX + 1])


@pytest.mark.parametrize(
    ("isr_old", "isr_new", "elr", "min_isr", "unclean", "expected"),
    [
        ("n1 n2 n3", "n1 n2", "", 2, "", ""),
        ("n1 n2", "n1", "", 2, "", "n2"),
        ("n2 n3", "n1", "", 2, "", "n2 n3"),
        ("n1", "n1", "n2", 2, "n2", ""),
        ("n1 n2", "n1", "n3", 2, "n2", "n3"),
        ("n1", "n1 n2", "n2 n3", 3, "", "n3"),
        ("n1", "n1 n2", "n2 n3", 2, "", ""),
        ("n1", "", "n2", 1, "n1", "n2"),
    ],
)
def test_elr_after(
    isr_old: str, isr_new: str, elr: str, min_isr: int, unclean: str, expected: str
) -> None:
    """KIP-966: leavers stay eligible below min ISR unless unclean; from min ISR on, none."""
    words = [tuple(text.split()) for text in (isr_old, isr_new, elr, unclean, expected)]
    assert elr_after(words[0], words[1], words[2], min_isr, words[3]) == words[4]
