"""The classes of faults of the random searches, and how each draws its faults.

A drawer gets the point that makes its decisions, a time, a target and the brokers. It returns one
fault, or a group of faults that belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from yak_core.ids import Micros
from yak_core.trace.recorder import Fault
from yak_sim.physics.choices import Point
from yak_sim.physics.kinds import Loss
from yak_sim.physics.topology import STORE, millis
from yak_sim.world.plan import LEADER

FaultGroup: TypeAlias = tuple[Fault, ...]
DrawFaults: TypeAlias = Callable[[Point, Micros, str, tuple[str, ...]], FaultGroup]


def may_lose_records(fault: Fault) -> bool:
    """Return whether the fault can lose records that were not flushed."""
    return dict(fault.details).get("lose", Loss.NOTHING) != Loss.NOTHING


def _crash(point: Point, at: Micros, target: str, _brokers: tuple[str, ...]) -> FaultGroup:
    lose = tuple(Loss)[point.pick(len(Loss))].value
    down = point.between(millis(100), millis(3_000))
    return (Fault(at, "crash", target, down, (("lose", lose),)),)


def _crash_within_step(
    point: Point, at: Micros, target: str, _brokers: tuple[str, ...]
) -> FaultGroup:
    lose = (Loss.UNSYNCED, Loss.SOME, Loss.TORN)[point.pick(3)].value
    down = point.between(millis(100), millis(3_000))
    details = (("lose", lose), ("effects", point.between(0, 12)))
    return (Fault(at, "crash_within_step", target, down, details),)


def _with_duration(kind: str, low_ms: int, high_ms: int, fixed_target: str = "") -> DrawFaults:
    """Return a drawer for a fault with a random duration on the target, or on ``fixed_target``."""

    def draw(point: Point, at: Micros, target: str, _brokers: tuple[str, ...]) -> FaultGroup:
        for_us = point.between(millis(low_ms), millis(high_ms))
        return (Fault(at, kind, fixed_target or target, for_us),)

    return draw


def _one_way(point: Point, at: Micros, target: str, brokers: tuple[str, ...]) -> FaultGroup:
    """Draw a one-way fault: all links from the target, all links to it, or one link."""
    ends = (
        f"{target}>brokers",
        f"brokers>{target}",
        f"{target}>store",
        f"store>{target}",
        f"{target}>{brokers[point.pick(len(brokers))]}",
        f"clients>{target}",
        f"{target}>clients",
    )
    where = ends[point.pick(len(ends))]
    return (Fault(at, "disconnect", where, point.between(millis(300), millis(4_000))),)


def _partition(point: Point, at: Micros, target: str, brokers: tuple[str, ...]) -> FaultGroup:
    """Draw a partition between the target and another broker, or that broker and the store."""
    other = brokers[point.pick(len(brokers))]
    side = f"{other},store" if point.happens((1, 2)) else other
    return (Fault(at, "partition", f"{target}|{side}", point.between(millis(300), millis(4_000))),)


def _lose_reply(point: Point, at: Micros, target: str, _brokers: tuple[str, ...]) -> FaultGroup:
    calls = ("any", "cas")[point.pick(2)]
    return (
        Fault(at, "lose_reply", target, None, (("count", 1 + point.pick(3)), ("calls", calls))),
    )


def _clog(point: Point, at: Micros, target: str, brokers: tuple[str, ...]) -> FaultGroup:
    other = brokers[point.pick(len(brokers))]
    return (Fault(at, "clog", f"{target}>{other}", point.between(millis(200), millis(2_500))),)


def _slow_link(point: Point, at: Micros, target: str, brokers: tuple[str, ...]) -> FaultGroup:
    other = (*brokers, "store")[point.pick(len(brokers) + 1)]
    details = (("delay_us", point.between(millis(50), millis(2_000))),)
    for_us = point.between(millis(300), millis(3_000))
    return (Fault(at, "slow_link", f"{target}>{other}", for_us, details),)


def _reset(point: Point, at: Micros, target: str, brokers: tuple[str, ...]) -> FaultGroup:
    return (Fault(at, "reset", f"{target}|{brokers[point.pick(len(brokers))]}"),)


def _handover(point: Point, at: Micros, _target: str, brokers: tuple[str, ...]) -> FaultGroup:
    """Draw a handover: the leader's disk stalls, the leader crashes, two brokers are partitioned.

    The next leader then has uncommitted records of the old epoch, and the first replica that
    reconnects has a shorter log. Rule R7 covers this case.
    """
    crash_at = at + millis(point.between(20, 300))
    down = millis(point.between(1_000, 4_000))
    first = point.pick(len(brokers))
    pair = f"{brokers[first]}|{brokers[(first + 1) % len(brokers)]}"
    part_at = crash_at + millis(point.between(0, 1_500))
    return (
        Fault(at, "stall_disk", LEADER, millis(400)),
        Fault(crash_at, "crash", LEADER, down, (("lose", Loss.UNSYNCED.value),)),
        Fault(part_at, "partition", pair, millis(point.between(500, 3_000))),
    )


KINDS: Final[dict[str, DrawFaults]] = {
    "crash": _crash,
    "crash_within_step": _crash_within_step,
    "stop": _with_duration("stop", 0, 2_000),
    "pause": _with_duration("pause", 50, 4_000),
    "isolate": _with_duration("isolate", 300, 4_000),
    "one_way": _one_way,
    "partition": _partition,
    "store_outage": _with_duration("store_outage", 200, 2_500, fixed_target=STORE),
    "lose_reply": _lose_reply,
    "clog": _clog,
    "slow_link": _slow_link,
    "stall_disk": _with_duration("stall_disk", 50, 2_000),
    "reset": _reset,
    "handover": _handover,
}
"""The drawer of each fault class."""
