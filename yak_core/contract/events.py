"""The events that a world delivers to a node."""

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
    """The durable state that a restarted node finds on its disk.

    ``headers`` are batch handles without payload, contiguous up to ``leo``. The first one begins at
    or below the saved high watermark, and ``producers`` is the idempotence table at its offset.
    ``epochs`` are the (epoch, start) pairs of the whole log. ``intact`` is False when data below
    the flushed end is missing or damaged (F13). ``saved`` are the values written by SaveState.

    ``storage_session`` is an opaque text without line breaks. If two starts have the same one, all
    that was written under one is there under the other, also what was not flushed. Empty means
    unknown, and equals no other.
    """

    log_start: Offset = 0
    leo: Offset = 0
    intact: bool = True
    epochs: tuple[tuple[Epoch, Offset], ...] = ()
    producers: tuple[tuple[int, ProducerEntry], ...] = ()
    headers: tuple[Batch, ...] = ()
    saved: tuple[tuple[str, bytes], ...] = ()
    storage_session: str = ""


@value
class Started:
    """The first event of a start; ``nonce`` is 128 random bits, new for each start."""

    node: NodeId
    config: BrokerConfig | ClientConfig
    nonce: int
    recovered: Recovered


@value
class Received:
    """A message arrived; it may be late, duplicated or out of order."""

    src: NodeId
    message: PeerMessage | Response


@value
class TimerFired:
    """The timer with this key fired; it may be late, but not early.

    A replaced or cancelled timer does not fire.
    """

    key: str


@value
class DiskOk:
    """The disk operation succeeded."""


@value
class NoSpace:
    """The disk is full; nothing was appended."""


@value
class Shipped:
    """A SendLog was sent: whole batches up to ``end``, ``size`` bytes in total."""

    end: Offset
    size: int


@value
class NotShipped:
    """A SendLog sent nothing: its log generation is old, or the peer is unreachable."""


DiskResult: TypeAlias = DiskOk | NoSpace | Shipped | NotShipped


@value
class DiskDone:
    """A disk operation completed; ``generation`` is that of its effect (R3, F62)."""

    op: OpId
    generation: LogGeneration
    result: DiskResult


@value
class MetaReply:
    """A metadata call completed: StoreOk, Refused (both with the stored value) or Unknown."""

    call: CallId
    outcome: MetaOutcome


@value
class Called:
    """A client sent a request.

    ``wall_ms`` is the wall clock in milliseconds, for timestamps; no replication rule reads it.
    """

    call: CallId
    request: Request | ClientCall
    wall_ms: int


@value
class Cancelled:
    """The client cancelled this call; the node no longer answers it."""

    call: CallId


@value
class PeerLost:
    """The connection to a peer broke; messages in flight may be lost."""

    peer: NodeId


@value
class NotSent:
    """The client's request with this correlation number never left; no copy of it will arrive."""

    correlation: int


@value
class StopAsked:
    """The operator asked this node to shut down within ``deadline_us`` from now."""

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
    | NotSent
    | StopAsked
)
"""What a node receives: one event per step, the first of which is Started."""
