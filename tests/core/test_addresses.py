"""Two addresses of a broker in the partition state, also while older brokers are registered.

An older broker reads only schema 1, and registers with one address. It is played by an entry with
``schema_max`` 1.
"""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import strategies as st

from tests.core.brokers import BROKERS, cluster
from tests.core.budgets import examples
from tests.core.metadata_records import first, led, ok
from yak_core.config import SECOND, BrokerConfig
from yak_core.ids import BrokerEpoch, NodeId
from yak_core.manual.run import advance, settle
from yak_core.manual.world import Manual
from yak_core.metadata.partition_state import (
    PartitionState,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.store_calls import Cas, StoreOk
from yak_core.metadata.transitions import Rejected, announce, check_step, create, register

BOTH = ("c", "p")


def urls(state: PartitionState | None, node: NodeId) -> tuple[str, str]:
    """Return (URL for clients, URL for brokers) of a node."""
    entry = None if state is None else state.node(node)
    assert entry is not None
    return (entry.url, entry.url_for_peers)


def schema_of(state: PartitionState) -> int:
    """Return the schema in which the state is written."""
    schema = json.loads(encode_partition_state(state))["schema"]
    assert isinstance(schema, int)
    return schema


def older(state: PartitionState, *nodes: NodeId) -> PartitionState:
    """Return the state with these nodes registered by an older version."""
    entries = tuple(
        (node, replace(entry, peer_url="", schema_max=1) if node in nodes else entry)
        for node, entry in state.nodes
    )
    return replace(state, nodes=entries)


def registered(state: PartitionState, node: NodeId, attempt: str = "r") -> PartitionState:
    """Register a broker with two addresses."""
    return ok(register(state, attempt=attempt, node=node, clean=True, url="c", peer_url="p"))


def announced(state: PartitionState, node: NodeId) -> PartitionState | Rejected:
    """Announce the two addresses of a broker."""
    return announce(
        state, attempt="x", node=node, broker_epoch=state.broker_epoch_of(node), url="c",
        peer_url="p",
    )  # fmt: skip


def test_creator_and_registration_record_both_addresses() -> None:
    state = ok(
        create(
            store_id="s", attempt="a", node="n1", url="c", peer_url="p", replicas=BROKERS, min_isr=2
        )
    )
    assert (urls(state, "n1"), schema_of(state)) == (BOTH, 2)
    state = registered(first(), "n2")
    assert (urls(state, "n1"), urls(state, "n2")) == (("u1", "u1"), BOTH)
    assert schema_of(state) == 2


def test_one_address_needs_no_new_schema() -> None:
    """Goal: a cluster without peer URLs can return to the version before."""
    for peer_url in ("", "c"):
        state = ok(
            register(first(), attempt="r", node="n2", clean=True, url="c", peer_url=peer_url)
        )
        assert (urls(state, "n2"), schema_of(state)) == (("c", "c"), 1)
    two = registered(first(), "n2")
    assert schema_of(ok(register(two, attempt="q", node="n2", clean=True, url="c"))) == 1


def test_older_broker_in_the_state_withholds_the_address_for_clients() -> None:
    """Goal: every registered broker reads every state, and brokers find each other."""
    state = registered(older(led(), "n1", "n3"), "n2")
    assert (urls(state, "n2"), schema_of(state)) == (("p", "p"), 1)
    assert isinstance(announced(state, "n2"), Rejected)
    # n1 is its own predecessor: its older entry is replaced.
    state = registered(older(led(), "n1"), "n1")
    assert (urls(state, "n1"), schema_of(state)) == (BOTH, 2)


def test_announcement_changes_only_the_addresses() -> None:
    state = registered(older(led(), "n3"), "n2")
    assert urls(state, "n2") == ("p", "p")
    upgraded = registered(state, "n3", "q")
    assert (urls(upgraded, "n2"), urls(upgraded, "n3")) == (("p", "p"), BOTH)
    new = ok(announced(upgraded, "n2"))
    assert check_step(upgraded, new) == ()
    assert urls(new, "n2") == BOTH
    entries = tuple(
        (node, replace(entry, url="p", peer_url="") if node == "n2" else entry)
        for node, entry in new.nodes
    )
    kept = ("partition_epoch", "attempt", "ancestors")
    same = {name: getattr(upgraded, name) for name in kept}
    assert replace(new, nodes=entries, **same) == upgraded


def test_announcement_of_another_start_is_rejected() -> None:
    state = registered(older(led(), "n3"), "n2")
    upgraded = registered(state, "n3", "q")
    late = announce(
        upgraded, attempt="x", node="n2", broker_epoch=BrokerEpoch(2), url="c", peer_url="p"
    )
    assert isinstance(late, Rejected)
    assert isinstance(announced(ok(announced(upgraded, "n2")), "n2"), Rejected)


@examples(60, 400, st.lists(st.tuples(st.sampled_from(BROKERS), st.sampled_from("onna"))))
def test_every_registered_broker_reads_every_state(moves: list[tuple[NodeId, str]]) -> None:
    """Goal: no order of starts of both versions writes what a registered broker cannot read."""
    made = create(store_id="s", attempt="a", node="n1", url="p", replicas=BROKERS, min_isr=2)
    state = older(made, "n1")
    versions = {"n1": "o"}
    for number, (node, move) in enumerate(moves):
        attempt = f"m{number}"
        epoch = state.broker_epoch_of(node)
        if move == "o":
            if schema_of(state) == 2:
                continue  # an older broker halts at this state, and changes nothing
            new = ok(register(state, attempt=attempt, node=node, clean=True, url="p"))
            state, versions[node] = older(new, node), move
        elif move == "n":
            state, versions[node] = registered(state, node, attempt), move
        elif epoch and versions[node] == "n":
            new_or_not = announce(
                state, attempt=attempt, node=node, broker_epoch=epoch, url="c", peer_url="p"
            )
            state = state if isinstance(new_or_not, Rejected) else ok(new_or_not)
        if "o" in versions.values():
            assert schema_of(state) == 1
        assert decode_partition_state(encode_partition_state(state)) == state
        for known, version in versions.items():
            assert urls(state, known)[1] == "p", version


def configured(node: NodeId) -> BrokerConfig:
    """Return the configuration of a broker with two addresses."""
    return BrokerConfig(BROKERS, url=f"c-{node}", peer_url=f"p-{node}")


def restarted(world: Manual, node: NodeId) -> None:
    """Stop a broker cleanly, and start it with two addresses."""
    world.request_stop(node, SECOND)
    settle(world)
    world.nodes[node].config = configured(node)
    world.start(node)
    settle(world)


def rewrite(world: Manual, *nodes: NodeId) -> None:
    """Write a state in which these nodes are older."""
    known = world.store.state
    assert known is not None
    new = older(known, *nodes)
    ancestors = (known.stamp, *known.ancestors)
    new = replace(
        new, partition_epoch=known.partition_epoch + 1, attempt=f"w{nodes}", ancestors=ancestors
    )
    assert isinstance(world.store.apply(Cas(known.stamp, new, None)), StoreOk)


def test_brokers_announce_their_addresses_after_the_last_upgrade() -> None:
    """Goal: one rolling restart is enough. Method: restart three older brokers one by one."""
    world = cluster()
    rewrite(world, *BROKERS)
    for node in ("n2", "n3"):
        restarted(world, node)
        assert urls(world.store.state, node) == (f"p-{node}", f"p-{node}")
        assert schema_of(world.store.history[-1]) == 1
    restarted(world, "n1")
    assert urls(world.store.state, "n1") == ("c-n1", "p-n1")
    expected = {node: (f"c-{node}", f"p-{node}") for node in BROKERS}
    assert advance(
        world, 20 * SECOND, lambda: {n: urls(world.store.state, n) for n in BROKERS} == expected
    )
    entries = world.store.history[-1].nodes
    advance(world, 2 * SECOND)
    history = world.store.history
    assert (history[-1].nodes, schema_of(history[-1])) == (entries, 2)
    assert len({state.nodes for state in history}) == 3 + 1 + 3 + 2, "starts, rewrite, announced"
