"""What a node is told: things that happened, in the past tense; must never ask for anything."""

from __future__ import annotations

from typing import TypeAlias

from yak_core.batch import Batch
from yak_core.config import BrokerConfig, ClientConfig
from yak_core.contract.client_calls import ClientCall
from yak_core.contract.messages import PeerMessage, Request, Response
from yak_core.ids import CallId, Epoch, LogGeneration, Micros, NodeId, Offset, OpId
from yak_core.log.producers import ProducerEntry
from yak_core.metadata.store_calls import MetaOutcome
from yak_core.value import value


@value
class Recovered:
    """What a restarted node finds on its disk: what was durable, and nothing else.

    ``headers`` are batch handles without payload, contiguous up to ``leo``, from an offset that is
    not above the saved high watermark; ``producers`` is the idempotence table at that offset.
    ``epochs`` are (epoch, start) of the whole log. ``intact`` is False when anything below the
    end that had been flushed is missing or damaged (F13). ``saved`` are the keys of SaveState.
    """

    log_start: Offset = 0
    leo: Offset = 0
    intact: bool = True
    epochs: tuple[tuple[Epoch, Offset], ...] = ()
    producers: tuple[tuple[int, ProducerEntry], ...] = ()
    headers: tuple[Batch, ...] = ()
    saved: tuple[tuple[str, bytes], ...] = ()


@value
class Started:
    """First event of an incarnation. ``nonce``: 128 random bits, never used twice."""

    node: NodeId
    config: BrokerConfig | ClientConfig
    nonce: int
    recovered: Recovered


@value
class Received:
    """A message arrived; it may be late, repeated, or out of order."""

    src: NodeId
    message: PeerMessage | Response


@value
class TimerFired:
    """The timer with this key ran out; never early, never after it was replaced or cancelled."""

    key: str


@value
class DiskOk:
    """The disk operation was carried out."""


@value
class NoSpace:
    """Nothing was appended: the disk is full."""


@value
class Shipped:
    """A SendLog went out: whole batches up to ``end`` of ``size`` bytes in all."""

    end: Offset
    size: int


@value
class NotShipped:
    """A SendLog sent nothing: the generation had moved, or the peer is out of reach."""


DiskResult: TypeAlias = DiskOk | NoSpace | Shipped | NotShipped


@value
class DiskDone:
    """A disk operation ended; ``generation`` is the one that the order carried (R3, F62)."""

    op: OpId
    generation: LogGeneration
    result: DiskResult


@value
class MetaReply:
    """A metadata call ended: Done, Refused with what is stored, or Unknown."""

    call: CallId
    outcome: MetaOutcome


@value
class Called:
    """A client asks. ``wall_ms`` is the wall clock, as data; no replication rule reads it."""

    call: CallId
    request: Request | ClientCall
    wall_ms: int


@value
class Cancelled:
    """The caller went away; no answer is wanted any more."""

    call: CallId


@value
class PeerLost:
    """The link to a peer broke: whatever was in flight to it may be lost."""

    peer: NodeId


@value
class StopAsked:
    """Stop in good order before ``deadline_us`` from now."""

    deadline_us: Micros


Event: TypeAlias = (
    Started
    | Received
    | TimerFired
    | DiskDone
    | MetaReply
    | Called
    | Cancelled
    | PeerLost
    | StopAsked
)
