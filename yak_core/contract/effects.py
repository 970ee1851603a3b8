"""What a node orders its world to do, in the imperative; must never be carried out by the node."""

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
    """Send ``message`` to ``dst``; it may be lost, repeated, delayed or overtaken."""

    dst: NodeId
    message: PeerMessage | Request


@value
class SetTimer:
    """Wake me once, between ``lo_us`` and ``hi_us`` from now; replaces a timer of the same key."""

    key: str
    lo_us: Micros
    hi_us: Micros


@value
class CancelTimer:
    """The timer with this key must not fire."""

    key: str


@value
class AppendLog:
    """Write these batches at the end of the log, stamped with their offsets and epoch."""

    op: OpId
    generation: LogGeneration
    batches: tuple[Batch, ...]


@value
class FlushLog:
    """Make durable whatever was appended or cut before."""

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

    At most ``bytes_max`` bytes unless the first batch alone is larger. The bytes are those of the
    moment of the order; the completion is Shipped or NotShipped.
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

    ``start`` may lie inside a batch; that batch is then the first.
    """

    call: CallId
    header: FetchResponse
    start: Offset
    end_max: Offset
    bytes_max: int


@value
class SaveState:
    """Keep ``value`` under ``key``, durable when it completes; None deletes the key."""

    op: OpId
    key: str
    value: bytes | None


@value
class CallMeta:
    """Call the metadata store; answered once by MetaReply."""

    call: CallId
    request: MetaRequest


@value
class Answer:
    """The answer to a client's call; the call is over."""

    call: CallId
    result: Response | ClientResult


@value
class Observe:
    """A remark for traces, plots and tests; changes nothing."""

    note: Note


@value
class Halt:
    """Stop this node for good; going on could break a promise. A person must look."""

    reason: str


@value
class Exit:
    """The stop that was asked for is complete."""

    clean: bool


DiskOrder: TypeAlias = AppendLog | FlushLog | TruncateLog | SaveState
"""What changes a disk; a broker's orders are performed and complete in the order of their issue."""

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
