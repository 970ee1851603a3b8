"""The effects that a node returns from a step, for its world to carry out."""

from __future__ import annotations

from typing import TypeAlias

from yak_core.batch import Batch
from yak_core.contract.client_calls import ClientResult
from yak_core.contract.messages import FetchResponse, PeerMessage, Replicate, Request, Response
from yak_core.contract.notes import Note
from yak_core.ids import CallId, LogGeneration, Micros, NodeId, Offset, OpId
from yak_core.metadata.store_calls import MetaRequest
from yak_core.value import value


@value
class Send:
    """Send ``message`` to ``dst``; the message may be lost, duplicated, delayed or reordered."""

    dst: NodeId
    message: PeerMessage | Request


@value
class SetTimer:
    """Deliver one TimerFired between ``lo_us`` and ``hi_us`` from now.

    Replaces a timer that has the same key.
    """

    key: str
    lo_us: Micros
    hi_us: Micros


@value
class CancelTimer:
    """Cancel the timer with this key."""

    key: str


@value
class AppendLog:
    """Append these batches to the log; they already contain their offsets and epoch."""

    op: OpId
    generation: LogGeneration
    batches: tuple[Batch, ...]


@value
class FlushLog:
    """Make all earlier appends and truncations durable."""

    op: OpId
    generation: LogGeneration


@value
class TruncateLog:
    """Remove every batch that ends above ``end``."""

    op: OpId
    generation: LogGeneration
    end: Offset


@value
class SendLog:
    """Send ``header`` to ``peer`` with whole batches of [start, end_max), at least one.

    The batches have at most ``bytes_max`` bytes, unless the first batch alone is larger. The bytes
    are those in the log when the effect is issued. The completion is Shipped or NotShipped.
    """

    op: OpId
    generation: LogGeneration
    peer: NodeId
    header: Replicate
    start: Offset
    end_max: Offset
    bytes_max: int


@value
class AnswerLog:
    """Answer ``call`` with ``header`` and whole batches of [start, end_max), at least one.

    If ``start`` lies inside a batch, that batch is the first.
    """

    call: CallId
    header: FetchResponse
    start: Offset
    end_max: Offset
    bytes_max: int


@value
class SaveState:
    """Save ``value`` under ``key``; None deletes the key. The completion means durable."""

    op: OpId
    key: str
    value: bytes | None


@value
class CallMeta:
    """Call the metadata store; one MetaReply answers the call."""

    call: CallId
    request: MetaRequest


@value
class Answer:
    """Answer a client's call; this completes the call."""

    call: CallId
    result: Response | ClientResult


@value
class Observe:
    """Publish a note for traces, plots and tests."""

    note: Note


@value
class Halt:
    """Stop this node, because continuing could break a guarantee; an operator must look at it."""

    reason: str


@value
class Exit:
    """Exit: the requested stop is complete."""

    clean: bool


DiskEffect: TypeAlias = AppendLog | FlushLog | TruncateLog | SaveState
"""The effects that change a disk; they are carried out and complete in the order of issue."""

Effect: TypeAlias = (
    Send
    | SetTimer
    | CancelTimer
    | AppendLog
    | FlushLog
    | TruncateLog
    | SendLog
    | AnswerLog
    | SaveState
    | CallMeta
    | Answer
    | Observe
    | Halt
    | Exit
)
"""What a node returns from a step, for its host to carry out in order."""
