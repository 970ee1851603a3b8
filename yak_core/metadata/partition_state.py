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

There are two schemas. A state is written with schema 1, which all versions read, unless it holds
what only schema 2 can express: a broker with two addresses. The transitions put that into a state
only when every registered broker reads schema 2. So during a rolling upgrade, brokers of both
versions read each state (docs/decisions/0018-two-addresses.md).
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

SCHEMA: Final = 2
"""Newest version of the byte format; the decoder refuses newer ones."""

_SCHEMA_1_FIELDS: Final = ("peer_url", "schema_max")
"""Fields of a broker's entry that schema 1 does not have."""


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
    election, or are :data:`UNREPORTED`. ``url`` is the broker's address for clients, and
    ``peer_url`` that for other brokers; it is empty if both are the same. ``schema_max`` is the
    newest schema of the partition state that the broker reads.
    """

    broker_epoch: BrokerEpoch
    clean: bool
    draining: bool
    url: str
    last_epoch: Epoch
    leo: Offset
    peer_url: str = ""
    schema_max: int = 1

    @property
    def url_for_peers(self) -> str:
        """The address at which other brokers reach this one."""
        return self.peer_url or self.url


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
    nodes = dict(fields["nodes"])
    schema = 1 if all(_is_in_schema_1(entry) for _, entry in state.nodes) else SCHEMA
    if schema == 1:
        nodes = {node: _to_schema_1(entry) for node, entry in nodes.items()}
    fields |= {"schema": schema, "nodes": nodes}
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
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise PartitionStateError(
            f"the partition state has schema {schema!r}; this version reads schema 1 to {SCHEMA}; "
            "start the version that wrote it, or a newer one"
        )
    nodes = fields.get("nodes")
    if not isinstance(nodes, dict):
        raise _damaged("'nodes' is not a JSON object")
    if schema == 1:
        nodes = {node: _from_schema_1(entry) for node, entry in nodes.items()}
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


def _is_in_schema_1(entry: NodeEntry) -> bool:
    """Return whether schema 1 can express ``entry``.

    Schema 1 has no field for ``schema_max``. If that is above 1, the field ``leo`` has it, next to
    a ``last_epoch`` of -1. No version has written such a pair for another reason: a log with
    records has an epoch. Older brokers do not read either field.
    """
    if entry.peer_url:
        return False
    if entry.schema_max == 1:
        return entry.last_epoch != UNREPORTED or entry.leo <= 1
    return entry.last_epoch == UNREPORTED and entry.leo == UNREPORTED


def _to_schema_1(entry: dict[str, object]) -> dict[str, object]:
    """Return the fields of an entry of schema 2 as in schema 1."""
    old = {name: part for name, part in entry.items() if name not in _SCHEMA_1_FIELDS}
    return old if entry["schema_max"] == 1 else old | {"leo": entry["schema_max"]}


def _from_schema_1(entry: object) -> object:
    """Return the fields of an entry of schema 1 as in schema 2; a damaged entry stays as it is."""
    if not isinstance(entry, dict) or not set(entry).isdisjoint(_SCHEMA_1_FIELDS):
        raise _damaged("an entry of 'nodes' is not one of schema 1")
    leo = entry.get("leo")
    if type(leo) is not int or leo <= 1 or entry.get("last_epoch") != UNREPORTED:
        return entry
    return entry | {"leo": UNREPORTED, "schema_max": leo}


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
        least[f"nodes.{node}.schema_max"] = (1, entry.schema_max)
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
