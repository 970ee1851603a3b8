"""The calls that an application makes to a client node, and their results."""

from __future__ import annotations

from typing import TypeAlias

from yak_core.batch import Batch
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Epoch, Offset
from yak_core.value import value


@value
class SendBatch:
    """Ask a producer to deliver one built batch; batches are sent in the order of the calls."""

    batch: Batch


@value
class SendResult:
    """The result of a delivery; ``base_offset`` is -1 unless it is known."""

    error: ErrorCode
    outcome: Outcome
    base_offset: Offset
    epoch: Epoch
    detail: str = ""


@value
class Poll:
    """Ask a consumer for the next records from its position."""


@value
class Seek:
    """Move a consumer's position; the answer is an immediate, empty PollResult."""

    offset: Offset


@value
class PollResult:
    """The whole batches that a poll returned.

    ``position`` is the consumer's position when it polled; the caller skips the records of the
    first batch that are below it. ``next_offset`` is the position after these batches. An error
    does not move the position.
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
