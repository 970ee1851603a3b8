"""The texts of a plot: captions, headline and description (alt text)."""

from __future__ import annotations

from yak_core.errors import Outcome
from yak_core.ids import Micros, Offset
from yak_sim.plot.data import BrokerPast, Past, Points

LISTED_MAX = 12
"""Maximum number of items in a list; a longer list becomes its length and its last item."""

VERBS = {
    "crash": "{} crashes",
    "crash_within_step": "{} crashes within a step",
    "pause": "{} paused",
    "stop": "stop requested for {}",
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
    "lose_request": "store request of {} lost",
    "lose_reply": "store reply to {} lost",
}


def fault_words(kind: str, target: str) -> str:
    """Return the caption of a fault. The caption of an unknown kind is its name."""
    words = VERBS.get(kind, f"{kind.replace('_', ' ')} {{}}")
    return words.format(target.replace(">", "→").replace("|", " | ")).strip()


def seconds(us: Micros) -> str:
    """Return a time in seconds, without trailing zeros, as in ``1.5 s``."""
    return f"{us / 1_000_000:.3f}".rstrip("0").rstrip(".") + " s"


def last_value(points: Points) -> Offset | None:
    """Return the last value of a curve, None if it has no value."""
    return next((value for _, value in reversed(points) if value is not None), None)


def headline(past: Past) -> str:
    """Return one line: acknowledged records, leaders, longest time without a leader."""
    if not past.brokers:
        return "The trace has no broker."
    acked = sum(ack.count for ack in past.acks if ack.outcome is Outcome.WRITTEN)
    parts = [_many(acked, "record") + " acknowledged"]
    if len(past.reigns) == 1:
        parts.append(f"one leader, {past.reigns[0].node}")
    elif past.reigns:
        parts.append(f"{len(past.reigns)} leader epochs")
    else:
        parts.append("no leader")
    gaps = [gap for gap in past.leaderless() if gap.start_us > past.start_us and past.reigns]
    if gaps:
        longest = max(gap.end_us - gap.start_us for gap in gaps)
        parts.append(f"longest time without a leader {seconds(longest)}")
    truncations = sum(
        cut.before - cut.end
        for broker in past.brokers
        for cut in broker.truncations
    )
    if truncations:
        parts.append(f"{_many(truncations, 'record')} truncated from logs")
    if past.dropped:
        parts.append(f"the last {_many(past.dropped, 'step')} missing from the trace")
    return " · ".join(parts)


def describe_past(past: Past) -> str:
    """Return the description of the whole plot, with its numbers."""
    if not past.brokers:
        return "High watermark and log end offset over time: the trace has no broker."
    names = ", ".join(broker.node for broker in past.brokers)
    length = seconds(past.end_us - past.start_us)
    many = _many(len(past.brokers), "broker")
    told = [
        f"High watermark and log end offset of {many} ({names}) over {length}.",
        *(_broker_words(broker) for broker in past.brokers),
        *_leader_words(past),
    ]
    shown = [f"{{{', '.join(isr)}}} from {_at(past, at)}" for at, isr in past.isr]
    told += _listed("ISR", "ISR changes", shown)
    written = [ack for ack in past.acks if ack.outcome is Outcome.WRITTEN]
    failed = len(past.acks) - len(written)
    told.append(
        f"Acknowledged: {_many(sum(ack.count for ack in written), 'record')} in "
        f"{_many(len(written), 'batch', 'batches')}. Failed or unknown: "
        f"{_many(failed, 'batch', 'batches')}."
    )
    faults = [
        f"{fault_words(fault.kind, fault.target)} at {_at(past, fault.start_us)}"
        + (
            f" for {seconds(fault.end_us - fault.start_us)}"
            if fault.end_us > fault.start_us
            else ""
        )
        for fault in past.faults
    ]
    told += _listed("Faults", "faults", faults) or ["No faults."]
    if past.dropped:
        told.append(f"Missing from the trace: the last {_many(past.dropped, 'step')}.")
    return " ".join(told)


def _broker_words(broker: BrokerPast) -> str:
    leo, hw = last_value(broker.leo), last_value(broker.hw)
    return f"Final log end offset of {broker.node}: {leo}, high watermark: {hw}."


def _leader_words(past: Past) -> list[str]:
    reigns = [
        f"{reign.node} in epoch {reign.epoch} from {_at(past, reign.start_us)} "
        f"to {_at(past, min(reign.end_us, past.end_us))}"
        for reign in past.reigns
    ]
    truncations = [
        f"{broker.node} from {cut.before} to {cut.end} at {_at(past, cut.at_us)}"
        for broker in past.brokers
        for cut in broker.truncations
    ]
    told = _listed("Leaders", "leader epochs", reigns) or ["No leader."]
    return told + _listed("Log truncations", "log truncations", truncations)


def _listed(what: str, many: str, items: list[str]) -> list[str]:
    if len(items) > LISTED_MAX:
        return [f"{len(items)} {many}, last: {items[-1]}."]
    return [f"{what}: {'; '.join(items)}."] if items else []


def _at(past: Past, us: Micros) -> str:
    return seconds(us - past.start_us)


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"
