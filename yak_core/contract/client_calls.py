"""What an application asks of a client node, and what it gets back; must never hold state."""

from __future__ import annotations

from typing import TypeAlias

from yak_core.batch import Batch
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Epoch, Offset
from yak_core.value import value


@value
class SendBatch:
    """Asks a producer to deliver one built batch, in the order of the calls."""

    batch: Batch


@value
class SendResult:
    """How the delivery of a batch ended; ``base_offset`` is -1 unless it is known."""

    error: ErrorCode
    outcome: Outcome
    base_offset: Offset
    epoch: Epoch
    detail: str = ""


@value
class Poll:
    """Asks a consumer for the next records from its position on."""


@value
class Seek:
    """Moves a consumer's position; answered at once with an empty PollResult."""

    offset: Offset


@value
class PollResult:
    """Whole batches; records below ``position`` (as it was asked) in the first are to be skipped.

    ``next_offset`` is the consumer's position after these. An error leaves the position alone.
    """

    error: ErrorCode
    batches: tuple[Batch, ...]
    position: Offset
    next_offset: Offset
    hw: Offset
    epoch: Epoch
    detail: str = ""


ClientCall: TypeAlias = SendBatch | Poll | Seek
ClientResult: TypeAlias = SendResult | PollResult
