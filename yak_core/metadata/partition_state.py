"""The one stamped metadata record and its bytes; must never decide who may change it.

Everything that the cluster has to agree on lies in this record: who leads in which epoch, who is in
sync, who may be elected, and which start of each broker is the present one. The store keeps it as
opaque bytes under a stamp (version, attempt id) and replaces it by compare-and-set, so two records
with the same stamp are the same record. ``partition_epoch`` is Kafka's partition epoch: it grows by
one with every change (F23). ``attempt`` names the write, because a store that lost a confirmed
write and was then written again shows the same version with another attempt (F80). ``ancestors``
are the stamps that this record grew from, so a reader can tell whether the record that it saw last
lies in this one's past.

The bytes are canonical JSON: sorted keys, no spaces, UTF-8. Equal records have equal bytes and the
decoder refuses any other spelling, so a damaged record is not mistaken for a different one.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Final

from yak_core.encoding.json_codec import codec_of
from yak_core.encoding.json_scalars import Misfit
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, Epoch, NodeId, Offset, Stamp
from yak_core.value import value

ANCESTORS_MAX: Final = 32
"""Stamps of earlier records kept in the record."""

SCHEMA: Final = 1
"""Version of the byte format; another one is refused, never guessed at."""


class Recovery(StrEnum):
    """Leader recovery state (KIP-704)."""

    RECOVERED = "recovered"
    RECOVERING = "recovering"
    """After an unclean election."""


class UncleanPolicy(StrEnum):
    """Who may be elected when neither ISR nor ELR has a member left (KIP-106, KIP-966)."""

    NEVER = "never"
    LAST_LEADER = "last_leader"
    LONGEST = "longest"
    ANY = "any"


UNREPORTED: Final = -1
"""``last_epoch`` and ``leo`` of a node that has not reported them."""

_INTEGER_END: Final = 2**63

_STORED_NAMES: Final = (
    ("partition_epoch", "version"),
    ("leader_broker_epoch", "leader_incarnation"),
    ("broker_epoch", "incarnation"),
)
"""Fields that schema 1 calls otherwise."""


class PartitionStateError(ValueError):
    """What the store holds is not a record that this version can read. One clear sentence."""


@value
class NodeEntry:
    """One broker as it last registered.

    ``broker_epoch`` is the version that its registration wrote; ``clean`` says that it promised its
    log to be complete; ``last_epoch`` and ``leo`` are its evidence for an unclean election, or
    :data:`UNREPORTED`.
    """

    broker_epoch: BrokerEpoch
    clean: bool
    draining: bool
    url: str
    last_epoch: Epoch
    leo: Offset


@value
class PartitionState:
    """The stamped record. Every tuple of ids, and ``nodes``, ascends by id without repeats.

    ``ancestors`` are newest first, at most :data:`ANCESTORS_MAX`. ``leader_broker_epoch`` is 0
    exactly when ``leader`` is None. ``last_leader`` is the last node that lost leadership.
    ``elr`` and ``last_known_eligible`` are KIP-966's eligible leader replicas and last known ELR.
    """

    store_id: str
    partition_epoch: int
    attempt: str
    ancestors: tuple[Stamp, ...]
    leader_epoch: Epoch
    leader: NodeId | None
    leader_broker_epoch: BrokerEpoch
    isr: tuple[NodeId, ...]
    elr: tuple[NodeId, ...]
    last_known_eligible: tuple[NodeId, ...]
    last_leader: NodeId | None
    replicas: tuple[NodeId, ...]
    min_isr: int
    unclean_policy: UncleanPolicy
    recovery: Recovery
    unclean_generation: int
    nodes: tuple[tuple[NodeId, NodeEntry], ...]

    @property
    def stamp(self) -> Stamp:
        """Which write this is, and whose attempt it was."""
        return (self.partition_epoch, self.attempt)

    @property
    def effective_min_isr(self) -> int:
        """Min ISR as far as there are replicas to meet it (KAFKA-15583)."""
        return min(self.min_isr, len(self.replicas))

    def node(self, node_id: NodeId) -> NodeEntry | None:
        """The entry of ``node_id``, or None when it has never registered."""
        for known, entry in self.nodes:
            if known == node_id:
                return entry
        return None

    def broker_epoch_of(self, node_id: NodeId) -> BrokerEpoch:
        """The registered incarnation of ``node_id``; 0 when it has never registered."""
        entry = self.node(node_id)
        return NO_BROKER_EPOCH if entry is None else entry.broker_epoch


_CODEC: Final = codec_of(PartitionState, _STORED_NAMES)


def is_ascending(ids: tuple[NodeId, ...]) -> bool:
    """Whether each id is above the one before it."""
    return all(ids[at - 1] < ids[at] for at in range(1, len(ids)))


def follows(newer: PartitionState, stamp: Stamp) -> bool | None:
    """Tell whether ``newer`` grew out of the record that carried ``stamp`` (or is that record).

    True: the stamp is its own or among its ancestors. False: it contradicts them, so the store lost
    a confirmed write (F80, F81). None: older than the oldest ancestor kept, so nobody can tell.
    """
    if stamp == newer.stamp or stamp in newer.ancestors:
        return True
    oldest = newer.ancestors[-1][0] if newer.ancestors else newer.partition_epoch
    if 1 <= stamp[0] < oldest:
        return None
    return False


def encode_partition_state(state: PartitionState) -> bytes:
    """Canonical JSON of ``state``: equal records and only those have equal bytes.

    Raises UnicodeEncodeError for text that UTF-8 cannot hold: that is the caller's mistake.
    """
    fields = json.loads(_CODEC.encode(state))
    fields |= {"schema": SCHEMA, "nodes": dict(fields["nodes"])}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def decode_partition_state(data: bytes) -> PartitionState:
    """Read what :func:`encode_partition_state` wrote. Raises PartitionStateError on damage."""
    try:
        fields: object = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as damage:
        raise PartitionStateError(f"The metadata record is not JSON: {damage}.") from damage
    if not isinstance(fields, dict):
        raise _damaged("it is not a JSON object")
    schema = fields.pop("schema", None)
    if type(schema) is not int or schema != SCHEMA:
        raise PartitionStateError(
            f"The metadata record has schema {schema!r}; this version reads {SCHEMA}."
        )
    nodes = fields.get("nodes")
    if not isinstance(nodes, dict):
        raise _damaged("'nodes' is not an object of nodes")
    fields["nodes"] = [[node, nodes[node]] for node in sorted(nodes)]
    try:
        state = _CODEC.decode(fields)
    except (Misfit, RecursionError) as damage:
        raise _damaged(str(damage)) from None
    assert isinstance(state, PartitionState)
    if fault := _fault(state):
        raise _damaged(fault)
    try:
        canonical = encode_partition_state(state)
    except UnicodeEncodeError as damage:
        raise _damaged(f"it holds text outside Unicode: {damage}") from damage
    if canonical != data:
        raise _damaged("it is not in its canonical form")
    return state


def _damaged(what: str) -> PartitionStateError:
    return PartitionStateError(f"The metadata record is damaged: {what}.")


def _fault(state: PartitionState) -> str:
    """What is out of bounds in a record all of whose types are right; empty if nothing is."""
    least = {
        "version": (1, state.partition_epoch),
        "leader_epoch": (0, state.leader_epoch),
        "leader_incarnation": (0, state.leader_broker_epoch),
        "min_isr": (1, state.min_isr),
        "unclean_generation": (0, state.unclean_generation),
        "ancestors": (1, *(version for version, _ in state.ancestors)),
    }
    for node, entry in state.nodes:
        least[f"nodes.{node}.incarnation"] = (1, entry.broker_epoch)
        least[f"nodes.{node}.last_epoch"] = (UNREPORTED, entry.last_epoch)
        least[f"nodes.{node}.leo"] = (UNREPORTED, entry.leo)
    for name, (lowest, *numbers) in least.items():
        if not all(lowest <= number < _INTEGER_END for number in numbers):
            return f"{name!r} is not an integer of at least {lowest}"
    ids: dict[str, tuple[str | None, ...]] = {
        "store_id": (state.store_id,),
        "attempt": (state.attempt,),
        "leader": (state.leader,),
        "last_leader": (state.last_leader,),
        "ancestors": tuple(attempt for _, attempt in state.ancestors),
    }
    members = {
        "isr": state.isr,
        "elr": state.elr,
        "last_known_eligible": state.last_known_eligible,
        "replicas": state.replicas,
        "nodes": tuple(node for node, _ in state.nodes),
    }
    for name, texts in (ids | members).items():
        if "" in texts:
            return f"{name!r} holds an empty string"
    for name, nodes in members.items():
        if not is_ascending(nodes):
            return f"{name!r} is not in ascending order without repeats"
    if len(state.ancestors) > ANCESTORS_MAX:
        return f"'ancestors' is not a list of at most {ANCESTORS_MAX} stamps"
    return ""
