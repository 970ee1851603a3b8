"""The transitions of the partition state, and the invariants that they keep.

Each transition is a pure function. It returns the partition state that would replace the given one,
or :class:`Rejected` with the reason. The caller writes the result by a compare-and-set on the stamp
of the given state. So each precondition is checked against the state that is replaced: the store
refuses the write if any other change was written before it (F17). A transition does not raise for
an invalid change; an assertion fails for a mistake of the caller, such as unsorted ids.

Sources: Kafka's KRaft controller, KIP-966 (eligible leader replicas), KIP-903 (broker epochs of
added members), KIP-841 (draining members), KIP-704 (recovery state). Registration differs from
Kafka: after a clean restart a broker stays in ISR and ELR and only its own leadership ends.
"""

from __future__ import annotations

from dataclasses import replace

from yak_core.ids import BrokerEpoch, Epoch, NodeId
from yak_core.metadata.partition_state import (
    ANCESTORS_MAX,
    SCHEMA,
    UNREPORTED,
    NodeEntry,
    PartitionState,
    Recovery,
    UncleanPolicy,
    is_ascending,
)
from yak_core.value import value


@value
class Rejected:
    """An invalid change of a partition state; no request was sent to the store."""

    reason: str


def create(
    *,
    store_id: str,
    attempt: str,
    node: NodeId,
    url: str,
    replicas: tuple[NodeId, ...],
    min_isr: int,
    peer_url: str = "",
) -> PartitionState:
    """T0: Create the first partition state. The creator has an empty log.

    The same write registers the creator and makes it the only member of the ISR. The other replicas
    join by catching up, so the log of each new member was compared with the log of the leader.
    """
    assert store_id != ""
    assert attempt != ""
    assert is_ascending(replicas)
    assert node in replicas
    assert min_isr >= 1
    return PartitionState(
        store_id=store_id,
        partition_epoch=1,
        attempt=attempt,
        ancestors=(),
        leader_epoch=Epoch(0),
        leader=None,
        leader_broker_epoch=BrokerEpoch(0),
        isr=(node,),
        elr=(),
        last_known_eligible=(),
        last_leader=None,
        replicas=replicas,
        min_isr=min_isr,
        unclean_policy=UncleanPolicy.NEVER,
        recovery=Recovery.RECOVERED,
        unclean_generation=0,
        nodes=((node, _entry(BrokerEpoch(1), clean=True, urls=(url, peer_url))),),
    )


def register(
    state: PartitionState,
    *,
    attempt: str,
    node: NodeId,
    clean: bool,
    url: str,
    peer_url: str = "",
) -> PartitionState | Rejected:
    """T1: Register a start of ``node``. Its broker epoch is the partition epoch that this writes.

    A clean start does not change ISR and ELR. After an unclean start the node may have lost
    records, so it leaves ISR and ELR; below min ISR it joins the last known ELR (F28, F29). In both
    cases its own leadership ends, because a restarted leader could append two records with the same
    epoch and offset (F41). The partition epoch always increases (F23).
    """
    if node not in state.replicas:
        return Rejected(f"{node} is not a replica")
    new = _next_state(state, attempt)
    urls = addresses_in(state, node, url, peer_url)
    entry = _entry(BrokerEpoch(new.partition_epoch), clean=clean, urls=urls)
    new = _with_entry(new, node, entry)
    if not clean and (node in state.isr or node in state.elr):
        isr = tuple(member for member in state.isr if member != node)
        new = _with_isr(new, isr, unclean=(node,))
    if state.leader == node:
        new = replace(
            new,
            leader=None,
            leader_broker_epoch=BrokerEpoch(0),
            leader_epoch=Epoch(state.leader_epoch + 1),
            last_leader=node,
        )
    return new


def announce(
    state: PartitionState,
    *,
    attempt: str,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    url: str,
    peer_url: str,
) -> PartitionState | Rejected:
    """T10: Record both addresses of ``node``, which registered while the state could not hold them.

    Nothing else changes. It is rejected while a registered broker does not read schema 2.
    """
    entry = state.node(node)
    if entry is None or entry.broker_epoch != broker_epoch:
        registered = state.broker_epoch_of(node)
        return Rejected(
            f"broker epoch {broker_epoch} of {node} differs from the registered {registered}"
        )
    urls = addresses_in(state, node, url, peer_url)
    if urls == (entry.url, entry.peer_url):
        return Rejected(f"the addresses of {node} are already {entry.url}, {entry.url_for_peers}")
    new = replace(entry, url=urls[0], peer_url=urls[1])
    return _with_entry(_next_state(state, attempt), node, new)


def addresses_in(
    state: PartitionState, node: NodeId, url: str, peer_url: str
) -> tuple[str, str]:
    """Return (``url``, ``peer_url``) of ``node`` as ``state`` can hold them.

    A broker that reads only schema 1 cannot read two addresses. While one is registered, other
    brokers still have to reach ``node``, so its peer URL is its only address, for clients, too.
    """
    if peer_url in ("", url):
        return (url, "")
    older = [n for n, entry in state.nodes if n != node and entry.schema_max < SCHEMA]
    return (peer_url, "") if older else (url, peer_url)


def elect(
    state: PartitionState, *, attempt: str, node: NodeId, broker_epoch: BrokerEpoch
) -> PartitionState | Rejected:
    """T3: Elect ``node``, a member of ISR or ELR, as the leader of the next epoch.

    While another leader is recorded, the caller guards the write by the lease counter of that
    leader. The guard protects liveness only: it prevents the election while the leader renews its
    lease. Candidates in the ISR campaign before those in the ELR; this is not a safety rule,
    because the members of both hold every committed record.
    """
    entry = state.node(node)
    if entry is None or entry.broker_epoch != broker_epoch:
        registered = state.broker_epoch_of(node)
        return Rejected(
            f"broker epoch {broker_epoch} of {node} differs from the registered {registered}"
        )
    if entry.draining:
        return Rejected(f"{node} is draining")
    if state.leader == node:
        return Rejected(f"{node} already leads epoch {state.leader_epoch}")
    if node not in state.isr and node not in state.elr:
        return Rejected(f"{node} is in neither ISR nor ELR")
    stay = tuple(member for member in state.isr if member not in (state.leader, node))
    new = _with_isr(_next_state(state, attempt), tuple(sorted((*stay, node))), unclean=())
    return replace(
        new,
        leader=node,
        leader_broker_epoch=broker_epoch,
        leader_epoch=Epoch(state.leader_epoch + 1),
        last_leader=state.last_leader if state.leader is None else state.leader,
        recovery=Recovery.RECOVERED,
    )


def alter_isr(
    state: PartitionState,
    *,
    attempt: str,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    isr: tuple[NodeId, ...],
    added: tuple[tuple[NodeId, BrokerEpoch], ...],
) -> PartitionState | Rejected:
    """T4: Change the ISR to ``isr``, on behalf of the leader ``node`` (KIP-497).

    ``isr`` is in ascending order. ``added`` holds each new member with the broker epoch under which
    it caught up. So a member that restarted since then does not join (F20, F21). A draining node is
    not a member (F24). The leader is always a member (F34), and the only one while the partition is
    recovering (KIP-704).
    """
    assert is_ascending(isr)
    if state.leader != node:
        return Rejected(f"{node} is not the leader")
    if state.leader_broker_epoch != broker_epoch:
        return Rejected(
            f"broker epoch {broker_epoch} of {node} differs from the leader's, "
            f"{state.leader_broker_epoch}"
        )
    if node not in isr:
        return Rejected(f"the leader {node} is missing from the new ISR {isr}")
    if isr == state.isr:
        return Rejected(f"the ISR is already {isr}")
    if state.recovery == Recovery.RECOVERING and isr != (node,):
        return Rejected(f"the ISR must be {(node,)} while the partition is recovering, got {isr}")
    for member in isr:
        if member not in state.replicas:
            return Rejected(f"{member} is not a replica")
        entry = state.node(member)
        if entry is not None and entry.draining:
            return Rejected(f"{member} is draining")
    joining = tuple(member for member in isr if member not in state.isr)
    if tuple(sorted(member for member, _ in added)) != joining:
        return Rejected(f"the added members are {added}, but {joining} join the ISR")
    for member, caught_up_as in added:
        registered = state.broker_epoch_of(member)
        if registered == 0 or registered != caught_up_as:
            return Rejected(
                f"broker epoch {caught_up_as} of {member} differs from the registered {registered}"
            )
    return _with_isr(_next_state(state, attempt), isr, unclean=())


def elr_after(
    isr_old: tuple[NodeId, ...],
    isr_new: tuple[NodeId, ...],
    elr: tuple[NodeId, ...],
    min_isr: int,
    unclean: tuple[NodeId, ...],
) -> tuple[NodeId, ...]:
    """Return the ELR after a change of the ISR (KIP-966); ``min_isr`` is the effective min ISR.

    While the ISR is below min ISR, the HW does not advance. So a member that leaves the ISR still
    holds every committed record, unless it is in ``unclean``: then it may have lost records. Once
    the ISR reaches min ISR, only its members are eligible, and the ELR is empty.
    """
    if len(isr_new) >= min_isr:
        return ()
    candidates = dict.fromkeys((*elr, *isr_old))
    return tuple(sorted(n for n in candidates if n not in isr_new and n not in unclean))


def check_partition_state(state: PartitionState) -> tuple[str, ...]:
    """Return the conditions of a well-formed partition state that ``state`` violates.

    The ISR may be empty: then the ELR or the last known ELR holds the members that had the data
    (KIP-966).
    """
    members = (*state.isr, *state.elr)
    eligible = (*members, *state.last_known_eligible)
    tuples = (state.isr, state.elr, state.last_known_eligible, state.replicas)
    leader_is_none = state.leader is None
    lineage = (state.stamp, *state.ancestors)
    broker_epochs = tuple(entry.broker_epoch for _, entry in state.nodes)
    conditions = {
        "sets are ascending": all(is_ascending(ids) for ids in tuples),
        "nodes are ascending": is_ascending(tuple(node for node, _ in state.nodes)),
        "ISR and ELR are replicas": all(node in state.replicas for node in eligible),
        "nodes are replicas": all(node in state.replicas for node, _ in state.nodes),
        "ISR, ELR and last known ELR are disjoint": len(dict.fromkeys(eligible)) == len(eligible),
        "no ELR at min ISR": len(state.isr) < state.effective_min_isr
        or (state.elr == () and state.last_known_eligible == ()),
        "ISR and ELR are registered": all(state.node(node) is not None for node in members),
        "no draining node in the ISR": not any(
            entry.draining for node, entry in state.nodes if node in state.isr
        ),
        "one ISR member in recovery": state.recovery != Recovery.RECOVERING or len(state.isr) <= 1,
        "the leader is in the ISR": leader_is_none or state.leader in state.isr,
        "the leader has its registered broker epoch": state.leader_broker_epoch
        == (0 if state.leader is None else state.broker_epoch_of(state.leader)),
        "leader epoch is below partition epoch": 0 <= state.leader_epoch < state.partition_epoch,
        "the epoch of a leader is at least 1": leader_is_none or state.leader_epoch >= 1,
        "broker epochs are distinct partition epochs": all(
            1 <= epoch <= state.partition_epoch for epoch in broker_epochs
        )
        and len(dict.fromkeys(broker_epochs)) == len(broker_epochs),
        "every registered broker can read two addresses": all(
            entry.schema_max >= SCHEMA for _, entry in state.nodes
        )
        or not any(entry.peer_url for _, entry in state.nodes),
        "the ancestors have no gap": len(lineage) == min(state.partition_epoch, ANCESTORS_MAX + 1)
        and all(
            stamp[0] == state.partition_epoch - back and stamp[1] != ""
            for back, stamp in enumerate(lineage)
        ),
    }
    return tuple(name for name, holds in conditions.items() if not holds)


def check_step(older: PartitionState, newer: PartitionState) -> tuple[str, ...]:
    """Return the conditions that ``newer`` violates as the successor of ``older``."""
    same_leader = (older.leader, older.leader_broker_epoch) == (
        newer.leader,
        newer.leader_broker_epoch,
    )
    conditions = {
        "the store id is the same": older.store_id == newer.store_id,
        "the partition epoch grows by one": newer.partition_epoch == older.partition_epoch + 1,
        "the leader epoch does not decrease": newer.leader_epoch >= older.leader_epoch,
        "a new leader has the next leader epoch": same_leader
        or newer.leader_epoch == older.leader_epoch + 1,
        "broker epochs do not decrease": all(
            newer.broker_epoch_of(node) >= entry.broker_epoch for node, entry in older.nodes
        ),
        "the unclean generation does not decrease": newer.unclean_generation
        >= older.unclean_generation,
        "the first ancestor is the replaced state": newer.ancestors[:1] == (older.stamp,),
    }
    return tuple(name for name, holds in conditions.items() if not holds)


def _next_state(state: PartitionState, attempt: str) -> PartitionState:
    assert attempt != ""
    assert attempt != state.attempt, "an attempt id must not be used for two writes"
    ancestors = (state.stamp, *state.ancestors)[:ANCESTORS_MAX]
    return replace(
        state, partition_epoch=state.partition_epoch + 1, attempt=attempt, ancestors=ancestors
    )


def _with_isr(
    state: PartitionState, isr: tuple[NodeId, ...], unclean: tuple[NodeId, ...]
) -> PartitionState:
    """Set the ISR, and derive the ELR and the last known ELR from it.

    As in Kafka, a node that is eligible again is removed from the last known ELR. It is added again
    if it loses records again.
    """
    elr = elr_after(state.isr, isr, state.elr, state.effective_min_isr, unclean)
    last_known: tuple[NodeId, ...] = ()
    if len(isr) < state.effective_min_isr:
        gone = tuple(n for n in unclean if n in state.isr or n in state.elr)
        pool = dict.fromkeys((*state.last_known_eligible, *gone))
        last_known = tuple(sorted(n for n in pool if n not in isr and n not in elr))
    return replace(state, isr=isr, elr=elr, last_known_eligible=last_known)


def _entry(broker_epoch: BrokerEpoch, *, clean: bool, urls: tuple[str, str]) -> NodeEntry:
    """Return the entry of a broker of this version that registers; ``urls`` for clients, peers."""
    url, peer_url = urls
    peer_url = "" if peer_url == url else peer_url
    return NodeEntry(
        broker_epoch, clean, False, url, Epoch(UNREPORTED), UNREPORTED, peer_url, SCHEMA
    )


def _with_entry(state: PartitionState, node: NodeId, entry: NodeEntry) -> PartitionState:
    others = tuple(pair for pair in state.nodes if pair[0] != node)
    return replace(state, nodes=tuple(sorted((*others, (node, entry)), key=_node_id)))


def _node_id(pair: tuple[NodeId, NodeEntry]) -> NodeId:
    return pair[0]
