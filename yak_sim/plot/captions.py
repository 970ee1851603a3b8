"""The texts of a plot: captions, headline and description (alt text)."""

from __future__ import annotations

from yak_core.errors import Outcome
from yak_core.ids import Micros, Offset
from yak_sim.plot.data import BrokerData, PlotData, Points

LISTED_MAX = 12
"""Maximum number of items in a list; a longer list becomes its length and its last item."""

FAULT_CAPTIONS = {
    "crash": "{} crashes",
    "crash_within_step": "{} crashes within a step",
    "pause": "{} paused",
    "stop": "{} stopped",
    "disconnect": "disconnected {}",
    "partition": "partition {}",
    "isolate": "isolated {}",
    "clog": "clogged link {}",
    "slow_link": "slow link {}",
    "disturb": "lossy link {}",
    "reset": "connection reset {}",
    "store_outage": "store unreachable",
    "stall_disk": "disk of {} stalls",
    "fill_disk": "disk of {} full",
    "damage_disk": "disk of {} damaged",
    "replace_disk": "disk of {} replaced",
    "lose_request": "store request of {} lost",
    "lose_reply": "store reply to {} lost",
    "lose_writes": "store loses changes",
}


def fault_caption(kind: str, target: str) -> str:
    """Return the caption of a fault. The caption of an unknown kind is its name."""
    caption = FAULT_CAPTIONS.get(kind, f"{kind.replace('_', ' ')} {{}}")
    return caption.format(target.replace(">", "→").replace("|", " | ")).strip()


def seconds(us: Micros) -> str:
    """Return a time in seconds, without trailing zeros, as in ``1.5 s``."""
    return f"{us / 1_000_000:.3f}".rstrip("0").rstrip(".") + " s"


def last_value(points: Points) -> Offset | None:
    """Return the last value of a curve, None if it has no value."""
    return next((value for _, value in reversed(points) if value is not None), None)


def shown_part(data: PlotData, window: tuple[Micros, Micros]) -> str:
    """Return a sentence about the part of the run that is shown; empty for the whole run."""
    if window[0] <= data.start_us and window[1] >= data.end_us:
        return ""
    return (
        f" Shown: {_at(data, window[0])} to {_at(data, window[1])} of "
        f"{seconds(data.end_us - data.start_us)}."
    )


def headline(data: PlotData) -> str:
    """Return one line: acknowledged records, leaders, longest time without a leader."""
    if not data.brokers:
        return "The trace has no broker."
    acked = sum(ack.count for ack in data.acks if ack.outcome is Outcome.WRITTEN)
    parts = [counted(acked, "record") + " acknowledged"]
    if len(data.leaderships) == 1:
        parts.append(f"one leader, {data.leaderships[0].node}")
    elif data.leaderships:
        parts.append(f"{len(data.leaderships)} leader epochs")
    else:
        parts.append("no leader")
    gaps = [gap for gap in data.leaderless() if gap.start_us > data.start_us and data.leaderships]
    if gaps:
        longest = max(gap.end_us - gap.start_us for gap in gaps)
        parts.append(f"longest time without a leader {seconds(longest)}")
    truncations = sum(
        truncation.before - truncation.end
        for broker in data.brokers
        for truncation in broker.truncations
    )
    if truncations:
        parts.append(f"{counted(truncations, 'record')} truncated from logs")
    if data.dropped:
        parts.append(f"the last {counted(data.dropped, 'step')} missing from the trace")
    return " · ".join(parts)


def describe_data(data: PlotData) -> str:
    """Return the description of the whole plot, with its numbers."""
    if not data.brokers:
        return "High watermark and log end offset over time: the trace has no broker."
    names = ", ".join(broker.node for broker in data.brokers)
    length = seconds(data.end_us - data.start_us)
    many = counted(len(data.brokers), "broker")
    sentences = [
        f"High watermark and log end offset of {many} ({names}) over {length}.",
        *(_broker_sentence(broker) for broker in data.brokers),
        *_leader_sentences(data),
    ]
    shown = [f"{{{', '.join(isr)}}} from {_at(data, at)}" for at, isr in data.isr]
    sentences += _listed("ISR", "ISR changes", shown)
    written = [ack for ack in data.acks if ack.outcome is Outcome.WRITTEN]
    failed = len(data.acks) - len(written)
    sentences.append(
        f"Acknowledged: {counted(sum(ack.count for ack in written), 'record')} in "
        f"{counted(len(written), 'batch', 'batches')}. Failed or unknown: "
        f"{counted(failed, 'batch', 'batches')}."
    )
    sentences += _fault_sentences(data)
    if data.dropped:
        sentences.append(f"Missing from the trace: the last {counted(data.dropped, 'step')}.")
    return " ".join(sentences)


def leaders_and_faults(data: PlotData) -> str:
    """Return the sentences about leaders, truncations and faults."""
    return " ".join([*_leader_sentences(data), *_fault_sentences(data)])


def _fault_sentences(data: PlotData) -> list[str]:
    faults = [
        f"{fault_caption(fault.kind, fault.target)} at {_at(data, fault.start_us)}"
        + (
            f" for {seconds(fault.end_us - fault.start_us)}"
            if fault.end_us > fault.start_us
            else ""
        )
        for fault in data.faults
    ]
    return _listed("Faults", "faults", faults) or ["No faults."]


def _broker_sentence(broker: BrokerData) -> str:
    leo, hw = last_value(broker.leo), last_value(broker.hw)
    return f"Final log end offset of {broker.node}: {leo}, high watermark: {hw}."


def _leader_sentences(data: PlotData) -> list[str]:
    leaderships = [
        f"{leadership.node} in epoch {leadership.epoch} from {_at(data, leadership.start_us)} "
        f"to {_at(data, min(leadership.end_us, data.end_us))}"
        for leadership in data.leaderships
    ]
    truncations = [
        f"{broker.node} from {each.before} to {each.end} at {_at(data, each.at_us)}"
        for broker in data.brokers
        for each in broker.truncations
    ]
    sentences = _listed("Leaders", "leader epochs", leaderships) or ["No leader."]
    return sentences + _listed("Log truncations", "log truncations", truncations)


def _listed(what: str, many: str, items: list[str]) -> list[str]:
    if len(items) > LISTED_MAX:
        return [f"{len(items)} {many}, last: {items[-1]}."]
    return [f"{what}: {'; '.join(items)}."] if items else []


def _at(data: PlotData, us: Micros) -> str:
    return seconds(us - data.start_us)


def counted(count: int, one: str, more: str = "") -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"
