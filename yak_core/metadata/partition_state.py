"""The partition state, and its encoding as canonical JSON.

The partition state holds all that the cluster must agree on: the leader and its epoch, the ISR, the
ELR, and the registered broker epoch of each broker. The store keeps it as opaque bytes with a stamp
(partition epoch, attempt id) and replaces it by compare-and-set. So two partition states with the
same stamp are equal.

``partition_epoch`` is Kafka's partition epoch: it grows by one with every change (F23). ``attempt``
identifies the write: after a store lost an acknowledged write, another write can have the same
partition epoch, but it has another attempt id (F80). ``ancestors`` are the stamps of the earlier
states, so a reader can check that the one that it saw last is among them.

The encoding has sorted keys, no spaces, and is UTF-8. Equal states have equal bytes, and the
decoder refuses every other encoding, so damage is detected unless it yields another valid state.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Final

from yak_core.encoding.json_codec import codec_of
from yak_core.encoding.json_scalars import Mismatch
from yak_core.ids import NO_BROKER_EPOCH, BrokerEpoch, Epoch, NodeId, Offset, Stamp
from yak_core.value import value

ANCESTORS_MAX: Final = 32
"""Number of stamps of earlier partition states that are kept in ``ancestors``."""

SCHEMA: Final = 1
"""Version of the byte format; the decoder refuses other versions."""


class Recovery(StrEnum):
    """Leader recovery state (KIP-704)."""

    RECOVERED = "recovered"
    RECOVERING = "recovering"
    """After an unclean election."""


class UncleanPolicy(StrEnum):
    """The replicas that may be elected when ISR and ELR are empty (KIP-106, KIP-966)."""

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
"""(field, name in schema 1) of the fields that have another name there."""


class PartitionStateError(ValueError):
    """The stored bytes are not a partition state that this version can read."""


@value
class NodeEntry:
    """The last registration of one broker.

    ``broker_epoch`` is the partition epoch that the registration wrote. ``clean`` says that the
    broker reported a complete log. ``last_epoch`` and ``leo`` describe its log for an unclean
    election, or are :data:`UNREPORTED`.
    """

    broker_epoch: BrokerEpoch
    clean: bool
    draining: bool
    url: str
    last_epoch: Epoch
    leo: Offset


@value
class PartitionState:
    """The partition state. Tuples of ids, and ``nodes``, are in ascending order of distinct ids.

    ``ancestors`` are newest first, at most :data:`ANCESTORS_MAX`. ``leader_broker_epoch`` is 0
    if and only if ``leader`` is None. ``last_leader`` is the last node that lost leadership.
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
        """(partition epoch, attempt id), which identifies this write."""
        return (self.partition_epoch, self.attempt)

    @property
    def effective_min_isr(self) -> int:
        """Min ISR, but at most the number of replicas (KAFKA-15583)."""
        return min(self.min_isr, len(self.replicas))

    def node(self, node_id: NodeId) -> NodeEntry | None:
        """Return the entry of ``node_id``; None if it has never registered."""
        for known, entry in self.nodes:
            if known == node_id:
                return entry
        return None

    def broker_epoch_of(self, node_id: NodeId) -> BrokerEpoch:
        """Return the registered broker epoch of ``node_id``; 0 if it has never registered."""
        entry = self.node(node_id)
        return NO_BROKER_EPOCH if entry is None else entry.broker_epoch


_CODEC: Final = codec_of(PartitionState, _STORED_NAMES)


def is_ascending(ids: tuple[NodeId, ...]) -> bool:
    """Return whether the ids are in ascending order without repeats."""
    return all(ids[at - 1] < ids[at] for at in range(1, len(ids)))


def follows(newer: PartitionState, stamp: Stamp) -> bool | None:
    """Return whether ``newer`` is, or descends from, the partition state with ``stamp``.

    True: ``stamp`` is the stamp of ``newer`` or one of its ancestors. False: it is neither, so the
    store lost an acknowledged write (F80, F81). None: ``stamp`` is older than all ancestors kept,
    so the answer is not known.
    """
    if stamp == newer.stamp or stamp in newer.ancestors:
        return True
    oldest = newer.ancestors[-1][0] if newer.ancestors else newer.partition_epoch
    if 1 <= stamp[0] < oldest:
        return None
    return False


def encode_partition_state(state: PartitionState) -> bytes:
    """Return the canonical JSON of ``state``. Two states are equal only if their bytes are equal.

    Raises UnicodeEncodeError for text that has no UTF-8 encoding, a mistake of the caller.
    """
    fields = json.loads(_CODEC.encode(state))
    fields |= {"schema": SCHEMA, "nodes": dict(fields["nodes"])}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def decode_partition_state(data: bytes) -> PartitionState:
    """Decode the bytes of :func:`encode_partition_state`.

    Raises PartitionStateError for all other bytes.
    """
    try:
        fields: object = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as damage:
        raise PartitionStateError(f"the partition state is not JSON: {damage}") from damage
    if not isinstance(fields, dict):
        raise _damaged("it is not a JSON object")
    schema = fields.pop("schema", None)
    if type(schema) is not int or schema != SCHEMA:
        raise PartitionStateError(
            f"the partition state has schema {schema!r}; this version reads schema {SCHEMA}"
        )
    nodes = fields.get("nodes")
    if not isinstance(nodes, dict):
        raise _damaged("'nodes' is not a JSON object")
    fields["nodes"] = [[node, nodes[node]] for node in sorted(nodes)]
    try:
        state = _CODEC.decode(fields)
    except (Mismatch, RecursionError) as damage:
        raise _damaged(str(damage)) from None
    assert isinstance(state, PartitionState)
    if fault := _fault(state):
        raise _damaged(fault)
    try:
        canonical = encode_partition_state(state)
    except UnicodeEncodeError as damage:
        raise _damaged(f"it holds text that is not valid Unicode: {damage}") from damage
    if canonical != data:
        raise _damaged("it is not in canonical form")
    return state


def _damaged(what: str) -> PartitionStateError:
    return PartitionStateError(f"the partition state is damaged: {what}")


def _fault(state: PartitionState) -> str:
    """Describe the first value that is out of range; return "" if there is none."""
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
            return f"{name!r} is not an integer from {lowest} to 2**63 - 1: {numbers}"
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
            return f"{name!r} is not in ascending order without repeats: {nodes}"
    if len(state.ancestors) > ANCESTORS_MAX:
        return f"'ancestors' must be at most {ANCESTORS_MAX} stamps, got {len(state.ancestors)}"
    return ""
