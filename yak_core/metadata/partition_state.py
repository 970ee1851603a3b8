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
    fields: dict[str, object] = {
        "schema": SCHEMA,
        "store_id": state.store_id,
        "version": state.partition_epoch,
        "attempt": state.attempt,
        "ancestors": state.ancestors,
        "leader_epoch": state.leader_epoch,
        "leader": state.leader,
        "leader_incarnation": state.leader_broker_epoch,
        "isr": state.isr,
        "elr": state.elr,
        "last_known_eligible": state.last_known_eligible,
        "last_leader": state.last_leader,
        "replicas": state.replicas,
        "min_isr": state.min_isr,
        "unclean_policy": state.unclean_policy,
        "recovery": state.recovery,
        "unclean_generation": state.unclean_generation,
        "nodes": {
            node_id: {
                "incarnation": entry.broker_epoch,
                "clean": entry.clean,
                "draining": entry.draining,
                "url": entry.url,
                "last_epoch": entry.last_epoch,
                "leo": entry.leo,
            }
            for node_id, entry in state.nodes
        },
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def decode_partition_state(data: bytes) -> PartitionState:
    """Read what :func:`encode_partition_state` wrote. Raises PartitionStateError on damage."""
    try:
        loaded: object = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as damage:
        raise PartitionStateError(f"The metadata record is not JSON: {damage}.") from damage
    fields = _Fields(loaded, "the record")
    schema = fields.integer("schema", 0)
    if schema != SCHEMA:
        raise PartitionStateError(
            f"The metadata record has schema {schema}; this version reads {SCHEMA}."
        )
    state = PartitionState(
        store_id=fields.text("store_id"),
        partition_epoch=fields.integer("version", 1),
        attempt=fields.text("attempt"),
        ancestors=fields.stamps("ancestors"),
        leader_epoch=Epoch(fields.integer("leader_epoch", 0)),
        leader=fields.node_or_none("leader"),
        leader_broker_epoch=BrokerEpoch(fields.integer("leader_incarnation", 0)),
        isr=fields.node_ids("isr"),
        elr=fields.node_ids("elr"),
        last_known_eligible=fields.node_ids("last_known_eligible"),
        last_leader=fields.node_or_none("last_leader"),
        replicas=fields.node_ids("replicas"),
        min_isr=fields.integer("min_isr", 1),
        unclean_policy=UncleanPolicy(fields.word("unclean_policy", tuple(UncleanPolicy))),
        recovery=Recovery(fields.word("recovery", tuple(Recovery))),
        unclean_generation=fields.integer("unclean_generation", 0),
        nodes=fields.entries("nodes"),
    )
    try:
        canonical = encode_partition_state(state)
    except UnicodeEncodeError as damage:
        raise PartitionStateError(
            f"The metadata record holds text outside Unicode: {damage}."
        ) from damage
    if canonical != data:
        raise PartitionStateError(
            "The metadata record is damaged: it is not in its canonical form."
        )
    return state


class _Fields:
    """Typed access to one decoded JSON object; each miss is a RecordError that names the field."""

    __slots__ = ("_fields", "_whole")

    def __init__(self, value: object, whole: str) -> None:
        if not isinstance(value, dict):
            raise PartitionStateError(
                f"The metadata record is damaged: {whole} is not a JSON object."
            )
        self._fields: dict[str, object] = value
        self._whole = whole

    def _wrong(self, name: str, wanted: str) -> PartitionStateError:
        return PartitionStateError(
            f"The metadata record is damaged: {name!r} of {self._whole} is not {wanted}."
        )

    def _get(self, name: str) -> object:
        if name not in self._fields:
            raise PartitionStateError(
                f"The metadata record is damaged: {self._whole} lacks {name!r}."
            )
        return self._fields[name]

    def integer(self, name: str, least: int) -> int:
        """An integer from ``least`` up to what 64 bits hold."""
        value = self._get(name)
        if type(value) is not int or not least <= value < _INTEGER_END:
            raise self._wrong(name, f"an integer of at least {least}")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def any_text(self, name: str) -> str:
        """A string, perhaps empty."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def text(self, name: str) -> str:
        """A string that is not empty."""
        value = self.any_text(name)
        if value == "":
            raise self._wrong(name, "a non-empty string")
        return value

    def word(self, name: str, words: tuple[str, ...]) -> str:
        """One of ``words``."""
        value = self.any_text(name)
        if value not in words:
            raise self._wrong(name, f"one of {', '.join(words)}")
        return value

    def node_or_none(self, name: str) -> NodeId | None:
        """A node id or null."""
        return None if self._get(name) is None else self.text(name)

    def node_ids(self, name: str) -> tuple[NodeId, ...]:
        """Ascending node ids without repeats."""
        value = self._get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list of node ids")
        ids: list[NodeId] = []
        for item in value:
            if not isinstance(item, str) or item == "":
                raise self._wrong(name, "a list of node ids")
            if ids and item <= ids[-1]:
                raise self._wrong(name, "in ascending order without repeats")
            ids.append(item)
        return tuple(ids)

    def stamps(self, name: str) -> tuple[Stamp, ...]:
        """At most ANCESTORS_MAX pairs of version and attempt id."""
        value = self._get(name)
        if not isinstance(value, list) or len(value) > ANCESTORS_MAX:
            raise self._wrong(name, f"a list of at most {ANCESTORS_MAX} stamps")
        stamps: list[Stamp] = []
        for item in value:
            if not isinstance(item, list) or len(item) != 2:
                raise self._wrong(name, "a list of stamps")
            pair = _Fields({"version": item[0], "attempt": item[1]}, f"a stamp in {name!r}")
            stamps.append((pair.integer("version", 1), pair.text("attempt")))
        return tuple(stamps)

    def entries(self, name: str) -> tuple[tuple[NodeId, NodeEntry], ...]:
        """Node entries, ascending by node id."""
        value = self._get(name)
        if not isinstance(value, dict):
            raise self._wrong(name, "an object of nodes")
        entries: list[tuple[NodeId, NodeEntry]] = []
        for node_id in sorted(value):
            if node_id == "":
                raise self._wrong(name, "an object keyed by node ids")
            fields = _Fields(value[node_id], f"node {node_id!r}")
            entry = NodeEntry(
                broker_epoch=BrokerEpoch(fields.integer("incarnation", 1)),
                clean=fields.flag("clean"),
                draining=fields.flag("draining"),
                url=fields.any_text("url"),
                last_epoch=Epoch(fields.integer("last_epoch", UNREPORTED)),
                leo=fields.integer("leo", UNREPORTED),
            )
            entries.append((node_id, entry))
        return tuple(entries)
