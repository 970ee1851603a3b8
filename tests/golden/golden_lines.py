"""The lines of golden scripts for events and effects, without addresses and times.

An event is a line that begins with its node; the effects of the step are the indented lines below
it. Batches are shown as their values and their epoch: ``a/1``, or ``(a b)/1`` for two records.
README.md lists every form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from yak_core.batch import Batch, records
from yak_core.contract import effects as fx
from yak_core.contract import events as ev
from yak_core.contract import messages as msg
from yak_core.contract.client_calls import Poll, PollResult, Seek, SendBatch, SendResult
from yak_core.errors import Outcome
from yak_core.metadata import store_calls as meta
from yak_core.metadata.partition_state import PartitionState, decode_partition_state

ACKS = {-1: "all", 0: "0", 1: "1"}


def batch(value: Batch) -> str:
    """Return ``a/1`` or ``(a b)/1``, without the epoch before a leader has stamped the batch."""
    if value.data:
        words = [(r.value or b"").decode() for r in records(value)]
    else:
        words = ["?"] * value.count
    text = words[0] if len(words) == 1 else f"({' '.join(words)})"
    return text if value.epoch < 0 else f"{text}/{value.epoch}"


def batches(values: tuple[Batch, ...]) -> str:
    """Return batches in brackets."""
    return f"[{' '.join(batch(value) for value in values)}]"


def nodes(ids: tuple[str, ...]) -> str:
    """Return node ids with commas, ``-`` for none."""
    return ",".join(ids) or "-"


def record(value: PartitionState) -> str:
    """Return the main fields of the partition state."""
    text = f"v{value.partition_epoch} e{value.leader_epoch} leader={value.leader or '-'}"
    text += f" isr={nodes(value.isr)}"
    if value.elr:
        text += f" elr={nodes(value.elr)}"
    if value.last_known_eligible:
        text += f" last_known={nodes(value.last_known_eligible)}"
    return text


def producer(value: Batch) -> str:
    """Return epoch and sequence of an idempotent batch."""
    if value.producer_id < 0:
        return ""
    return f" seq={value.producer_epoch}:{value.base_sequence}"


def sent(what: msg.Message) -> str:
    """Return the line of a message."""
    if isinstance(what, msg.Replicate):
        prev = f"{what.prev_offset}/{_epoch(what.prev_epoch)}"
        head = f"Replicate e{what.epoch} start={what.epoch_start} prev={prev}"
        return f"{head} {batches(what.batches)} hw={what.hw}"
    if isinstance(what, msg.ReplicateAck):
        return f"Ack e{what.epoch} broker_epoch={what.broker_epoch} match={what.match}"
    if isinstance(what, msg.ReplicateReject):
        hint = f"{what.hint_offset}/{_epoch(what.hint_epoch)}"
        return f"Reject e{what.epoch} broker_epoch={what.broker_epoch} at={what.at} hint={hint}"
    if isinstance(what, msg.Fenced):
        return f"Fenced e{what.epoch} leader={what.leader or '-'}"
    if isinstance(what, msg.ProduceRequest):
        return f"Produce acks={ACKS[what.acks]} {batch(what.batch)}{producer(what.batch)}"
    if isinstance(what, msg.FetchRequest):
        return f"Fetch at={what.offset} last_epoch={_epoch(what.last_epoch)}"
    if isinstance(what, msg.ListOffsetsRequest):
        return f"ListOffsets {'latest' if what.at == -1 else 'earliest'}"
    if isinstance(what, msg.DescribeRequest):
        return "Describe"
    return answered(what)


def answered(what: object) -> str:
    """Return the line of an answer to a client's request or an application's call."""
    if isinstance(what, msg.ProduceResponse | SendResult):
        if what.outcome != Outcome.WRITTEN:
            return f"{what.outcome.name.lower()} {what.error.name}"
        known = what.base_offset >= 0
        return f"written base={what.base_offset} e{what.epoch}" if known else "written somewhere"
    if isinstance(what, msg.FetchResponse):
        text = f"records {batches(what.batches)} hw={what.hw}"
        if what.diverging_end >= 0:
            text += f" diverging_end={what.diverging_end}"
        return text if not what.error else f"{what.error.name} {text}"
    if isinstance(what, msg.ListOffsetsResponse):
        return f"{what.error.name}" if what.error else f"offset {what.offset}"
    if isinstance(what, msg.DescribeResponse):
        return f"{what.role} of e{what.leader_epoch} leader={what.leader or '-'}"
    if isinstance(what, PollResult):
        text = f"records {batches(what.batches)} next={what.next_offset} hw={what.hw}"
        return text if not what.error else f"{what.error.name} {text}"
    raise TypeError(f"no line for {what!r}")


def asked(request: object) -> str:
    """Return the line of a request or call at a node."""
    if isinstance(request, SendBatch):
        return f"send {batch(request.batch)}"
    if isinstance(request, Poll):
        return "poll"
    if isinstance(request, Seek):
        return f"seek {request.offset}"
    assert isinstance(
        request,
        msg.ProduceRequest | msg.FetchRequest | msg.ListOffsetsRequest | msg.DescribeRequest,
    )
    return sent(request)


def label(request: object) -> str:
    """Return the label of the answer to a request."""
    if isinstance(request, SendBatch | msg.ProduceRequest):
        return batch(request.batch)
    return sent(request).split()[0] if isinstance(request, msg.Request) else asked(request)


def called(request: meta.MetaRequest) -> str:
    """Return the line of a call of the metadata store."""
    if isinstance(request, meta.Read):
        return "read"
    if isinstance(request, meta.RenewLease):
        return "renew"
    if isinstance(request, meta.Publish):
        return "publish"
    guard = "" if request.guard is None else f" if {request.guard[0]} has not renewed"
    return f"cas {record(request.state)}{guard}"


def replied(outcome: meta.MetaOutcome) -> str:
    """Return the line of a reply of the metadata store."""
    if isinstance(outcome, meta.Unknown):
        return "unknown"
    if isinstance(outcome, meta.StoreOk):
        word, value = "done", outcome.value
    else:
        word, value = f"refused ({outcome.reason})", outcome.current
    if value.state is None:
        return f"{word} unchanged" if value.unchanged else f"{word} nothing there"
    return f"{word} {record(value.state)}"


def note(value: object) -> str:
    """Return a note's name and its fields in order."""
    parts = [type(value).__name__]
    for field in fields(value):  # type: ignore[arg-type]
        parts.append(f"{field.name}={_word(getattr(value, field.name))}")
    return " ".join(parts)


def saved(key: str, value: bytes | None) -> str:
    """Return the line of a saved value; the partition state by its version."""
    if value is None:
        return f"delete {key}"
    return (
        f"save {key} v{decode_partition_state(value).partition_epoch}"
        if key == "record"
        else f"save {key}"
    )


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return nodes(tuple(str(item) for item in value))
    if value is None:
        return "-"
    if isinstance(value, int) and value > 1 << 32:
        return "(long)"  # a producer id that a node drew from its nonce
    return str(value).replace(" ", "_")


def _epoch(value: int) -> str:
    return "-" if value < 0 else str(value)


def _no_line(_: Any) -> str:
    return ""


EFFECTS: dict[type, Callable[[Any], str]] = {
    fx.Send: lambda e: f"-> {e.dst} {sent(e.message)}",
    fx.SetTimer: lambda e: f"set timer {e.key}",
    fx.CancelTimer: lambda e: f"cancel timer {e.key}",
    fx.AppendLog: lambda e: f"append {e.batches[0].base_offset} {batches(e.batches)}",
    fx.FlushLog: lambda e: "flush",
    fx.TruncateLog: lambda e: f"truncate to {e.end}",
    fx.SaveState: lambda e: saved(e.key, e.value),
    fx.CallMeta: lambda e: f"-> store {called(e.request)}",
    fx.Observe: lambda e: f"note {note(e.note)}",
    fx.Halt: lambda e: f"halt: {e.reason}",
    fx.Exit: lambda e: f"exit {'clean' if e.clean else 'unclean'}",
}
"""Effect to its line; the stage prints SendLog, AnswerLog and Answer with their batches."""

EVENTS: dict[type, Callable[[Any], str]] = {
    ev.Started: lambda e: f"starts with {_recovered(e.recovered)}",
    ev.Received: lambda e: f"<- {e.src} {sent(e.message)}",
    ev.TimerFired: lambda e: f"timer {e.key}",
    ev.MetaReply: lambda e: f"<- store {replied(e.outcome)}",
    ev.Called: lambda e: f"is asked: {asked(e.request)}",
    ev.Cancelled: lambda e: "is no longer asked",
    ev.NotSent: lambda e: f"never sent: request {e.correlation}",
    ev.PeerLost: lambda e: f"lost the link to {e.peer}",
    ev.StopAsked: lambda e: "is asked to stop",
}
"""Event to its line; DiskDone is printed with its effect."""


def _recovered(found: ev.Recovered) -> str:
    text = f"log {found.log_start}..{found.leo}"
    if not found.intact:
        text += " damaged"
    return text
