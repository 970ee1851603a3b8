"""Faults written down beforehand, carried out at their times; must never draw or judge.

A plan is a list of :class:`yak_core.trace.recorder.Fault`, the same objects that a run keeps.
``leader`` as a target means whoever leads when the time comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from yak_core.ids import NodeId
from yak_core.trace.recorder import Fault
from yak_sim.physics.choices import Ratio
from yak_sim.physics.kinds import Loss
from yak_sim.physics.store import ANY
from yak_sim.world.faults import Faults

LEADER: Final = "leader"


FORMER_KINDS: Final[Mapping[str, str]] = {"cut": "disconnect"}
"""Words of plans and traces of schema 1."""


class PlanError(ValueError):
    """A plan names a kind or a target that does not exist; one sentence."""


def follow(
    faults: Faults,
    plan: Iterable[Fault],
    brokers: tuple[NodeId, ...],
    leader: Callable[[], NodeId | None],
) -> None:
    """Carry out each fault at its time; times that are over mean now. Raises PlanError."""
    for fault in map(_renamed, plan):
        _check(brokers, fault)
        faults.at(fault.at_us, partial(apply, faults, fault, leader))


def apply(faults: Faults, fault: Fault, leader: Callable[[], NodeId | None]) -> None:
    """Carry out one fault now. Without a leader, what is meant for the leader does not happen."""
    target = fault.target
    if LEADER in _names(target):
        leading = leader()
        if leading is None:
            return
        target = target.replace(LEADER, leading)
    _ACTS[fault.kind](faults, target, fault, dict(fault.details))


def _renamed(fault: Fault) -> Fault:
    """The fault with today's word for its kind."""
    return replace(fault, kind=FORMER_KINDS.get(fault.kind, fault.kind))


def _check(brokers: tuple[NodeId, ...], fault: Fault) -> None:
    if fault.kind not in _ACTS:
        raise PlanError(f"There is no fault of the kind {fault.kind!r}.")
    if fault.kind in _TWO_SIDED:
        _sides(fault.target)
    for name in _names(fault.target) if fault.target else ():
        if not _NAME.fullmatch(name) and name not in brokers:
            raise PlanError(f"{fault.target!r} names {name!r}, which is no part of this cluster.")


_TWO_SIDED: Final = ("disconnect", "partition", "clog", "slow_link", "disturb", "reset")

_NAME: Final = re.compile(r"leader|store|brokers|clients|\*|[pc][1-9][0-9]*")
"""What a target may name besides the brokers; clients may come later."""


def _names(target: str) -> list[str]:
    return target.replace("|", ",").replace(">", ",").split(",")


_Details = Mapping[str, int | str]


def _sides(target: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """(sources, targets, both ways) of ``n1>n2,n3`` or ``n1|n2,n3``."""
    for sign in "|>":
        one, found, other = target.partition(sign)
        if found and one and other:
            return (tuple(one.split(",")), tuple(other.split(",")), sign == "|")
    raise PlanError(f"{target!r} does not name two sides, as 'n1>n2' or 'n1|n2,store' do.")


def _number(details: _Details, name: str, default: int) -> int:
    return int(details.get(name, default))


def _ratio(details: _Details, name: str) -> Ratio:
    part, _, whole = str(details.get(name, "0/1")).partition("/")
    return (int(part), int(whole))


def _crash(faults: Faults, target: str, fault: Fault, details: _Details) -> None:
    faults.crash(target, str(details.get("lose", Loss.UNSYNCED)), for_us=fault.for_us)


def _crash_within_step(faults: Faults, target: str, fault: Fault, details: _Details) -> None:
    faults.crash_within_step(
        target,
        _number(details, "effects", 1),
        str(details.get("lose", Loss.UNSYNCED)),
        for_us=fault.for_us,
    )


def _disconnect(faults: Faults, target: str, fault: Fault, _details: _Details) -> None:
    sources, targets, two_way = _sides(target)
    act = faults.partition if two_way else faults.disconnect
    act(sources, targets, for_us=fault.for_us)


def _slow_link(faults: Faults, target: str, fault: Fault, details: _Details) -> None:
    sources, targets, two_way = _sides(target)
    faults.slow_link(
        sources,
        targets,
        delay_us=_number(details, "delay_us", 0),
        bytes_per_s=_number(details, "bytes_per_s", 0),
        two_way=two_way,
        for_us=fault.for_us,
    )


def _disturb(faults: Faults, target: str, fault: Fault, details: _Details) -> None:
    sources, targets, two_way = _sides(target)
    faults.disturb(
        sources,
        targets,
        loss=_ratio(details, "loss"),
        duplicate=_ratio(details, "duplicate"),
        two_way=two_way,
        for_us=fault.for_us,
    )


def _reset(faults: Faults, target: str, _fault: Fault, _details: _Details) -> None:
    (one, *_), (other, *_), _ = _sides(target)
    faults.reset(one, other)


def _lose_request(faults: Faults, target: str, _fault: Fault, details: _Details) -> None:
    faults.lose_store_requests(
        target, _number(details, "count", 1), calls=str(details.get("calls", ANY))
    )


def _lose_reply(faults: Faults, target: str, _fault: Fault, details: _Details) -> None:
    faults.lose_store_replies(
        target, _number(details, "count", 1), calls=str(details.get("calls", ANY))
    )


def _isolate(faults: Faults, target: str, fault: Fault, _details: _Details) -> None:
    """``n1`` from its peers and the store, or ``n1|n2,store`` as a run has kept it."""
    if "|" in target:
        one, other, _ = _sides(target)
        faults.partition(one, other, for_us=fault.for_us)
    else:
        faults.isolate(target, for_us=fault.for_us)


def _clog(faults: Faults, target: str, fault: Fault, _details: _Details) -> None:
    sources, targets, two_way = _sides(target)
    faults.clog(sources, targets, two_way=two_way, for_us=fault.for_us)


def _pause(faults: Faults, target: str, fault: Fault, _details: _Details) -> None:
    faults.pause(target, for_us=fault.for_us)


def _store_outage(faults: Faults, _target: str, fault: Fault, _details: _Details) -> None:
    faults.store_outage(for_us=fault.for_us)


def _stall_disk(faults: Faults, target: str, fault: Fault, _details: _Details) -> None:
    faults.stall_disk(target, for_us=fault.for_us or 0)


def _fill_disk(faults: Faults, target: str, fault: Fault, _details: _Details) -> None:
    faults.fill_disk(target, for_us=fault.for_us)


def _restart(faults: Faults, target: str, _fault: Fault, _details: _Details) -> None:
    faults.restart(target)


def _stop(faults: Faults, target: str, fault: Fault, _details: _Details) -> None:
    faults.stop(target, for_us=fault.for_us)


def _resume(faults: Faults, target: str, _fault: Fault, _details: _Details) -> None:
    faults.resume(target)


def _heal(faults: Faults, _target: str, _fault: Fault, _details: _Details) -> None:
    faults.heal()


def _store_back(faults: Faults, _target: str, _fault: Fault, _details: _Details) -> None:
    faults.end_store_outage()


_Act = Callable[[Faults, str, Fault, _Details], None]

_ACTS: Final[Mapping[str, _Act]] = {
    "crash": _crash,
    "crash_within_step": _crash_within_step,
    "restart": _restart,
    "stop": _stop,
    "pause": _pause,
    "resume": _resume,
    "disconnect": _disconnect,
    "partition": _disconnect,
    "isolate": _isolate,
    "clog": _clog,
    "slow_link": _slow_link,
    "disturb": _disturb,
    "reset": _reset,
    "heal": _heal,
    "store_outage": _store_outage,
    "store_back": _store_back,
    "lose_request": _lose_request,
    "lose_reply": _lose_reply,
    "stall_disk": _stall_disk,
    "fill_disk": _fill_disk,
}
"""Kind -> how it is done. The kinds are those that :class:`yak_sim.faults.Faults` keeps."""
