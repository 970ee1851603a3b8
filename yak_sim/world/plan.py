"""Fault plans: lists of faults that are injected at given times.

A plan is a list of :class:`yak_core.trace.recorder.Fault`, the type that a trace records.
The target ``leader`` is the leader at the time of the fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Fault
from yak_sim.physics.choices import Ratio
from yak_sim.physics.kinds import Loss
from yak_sim.physics.store import ANY
from yak_sim.world.faults import Faults

LEADER: Final = "leader"


FORMER_KINDS: Final[Mapping[str, str]] = {"cut": "disconnect"}
"""Fault kinds of schema 1, and their names in the current schema."""


class PlanError(ValueError):
    """A plan names a kind or a target that does not exist."""


def schedule(
    faults: Faults,
    plan: Iterable[Fault],
    brokers: tuple[NodeId, ...],
    leader: Callable[[], NodeId | None],
) -> None:
    """Schedule each fault at its time, now if the time has passed. Raise PlanError."""
    for fault in map(_renamed, plan):
        _check(brokers, fault)
        faults.call_at(fault.at_us, partial(apply, faults, fault, leader))


def apply(faults: Faults, fault: Fault, leader: Callable[[], NodeId | None]) -> None:
    """Inject one fault now. A fault for ``leader`` is skipped if there is no leader."""
    target = fault.target
    if LEADER in _names(target):
        leading = leader()
        if leading is None:
            return
        target = target.replace(LEADER, leading)
    _ACTIONS[fault.kind](faults, target, fault.for_us, dict(fault.details))


def _renamed(fault: Fault) -> Fault:
    """Return the fault with the current name of its kind."""
    return replace(fault, kind=FORMER_KINDS.get(fault.kind, fault.kind))


def _check(brokers: tuple[NodeId, ...], fault: Fault) -> None:
    if fault.kind not in _ACTIONS:
        raise PlanError(f"unknown fault kind {fault.kind!r}; expected one of {', '.join(_ACTIONS)}")
    if fault.kind in _TWO_SIDED:
        _sides(fault.target)
    for name in _names(fault.target) if fault.target else ():
        if not _NAME.fullmatch(name) and name not in brokers:
            known = f"brokers are {', '.join(brokers)}"
            raise PlanError(f"unknown node {name!r} in fault target {fault.target!r}; {known}")


_TWO_SIDED: Final = ("disconnect", "partition", "clog", "slow_link", "disturb", "reset")

_NAME: Final = re.compile(r"leader|store|brokers|clients|\*|[pc][1-9][0-9]*")
"""Valid names in a target besides the brokers. A client may be added after the plan is checked."""


def _names(target: str) -> list[str]:
    return target.replace("|", ",").replace(">", ",").split(",")


_Details = Mapping[str, int | str]
_Action = Callable[[Faults, str, Micros | None, _Details], None]
_Parse = Callable[[_Details], dict[str, Any]]


def _sides(target: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Return (sources, targets, two-way) of ``n1>n2,n3`` or ``n1|n2,n3``."""
    for sign in "|>":
        one, found, other = target.partition(sign)
        if found and one and other:
            return (tuple(one.split(",")), tuple(other.split(",")), sign == "|")
    raise PlanError(f"fault target {target!r} has no two sides; expected 'n1>n2' or 'n1|n2,store'")


def _number(details: _Details, name: str, default: int) -> int:
    return int(details.get(name, default))


def _ratio(details: _Details, name: str) -> Ratio:
    numerator, _, denominator = str(details.get(name, "0/1")).partition("/")
    return (int(numerator), int(denominator))


def _lose(details: _Details) -> str:
    return str(details.get("lose", Loss.UNSYNCED))


def _calls(details: _Details) -> str:
    return str(details.get("calls", ANY))


def _disconnect(faults: Faults, target: str, for_us: Micros | None, _details: _Details) -> None:
    sources, targets, two_way = _sides(target)
    inject = faults.partition if two_way else faults.disconnect
    inject(sources, targets, for_us=for_us)


def _isolate(faults: Faults, target: str, for_us: Micros | None, _details: _Details) -> None:
    """Isolate ``n1`` from its peers and the store, or ``n1|n2,store`` as recorded by a run."""
    if "|" in target:
        _disconnect(faults, target, for_us, _details)
    else:
        faults.isolate(target, for_us=for_us)


def _on_links(inject: Callable[..., object], parse: _Parse) -> _Action:
    """Return an action for a fault on links; ``parse`` parses the details of its kind."""

    def action(faults: Faults, target: str, for_us: Micros | None, details: _Details) -> None:
        sources, targets, two_way = _sides(target)
        inject(faults, sources, targets, two_way=two_way, for_us=for_us, **parse(details))

    return action


def _reset(faults: Faults, target: str, _for_us: Micros | None, _details: _Details) -> None:
    (one, *_), (other, *_), _ = _sides(target)
    faults.reset(one, other)


_ACTIONS: Final[Mapping[str, _Action]] = {
    "crash": lambda f, node, us, d: f.crash(node, _lose(d), for_us=us),
    "crash_within_step": lambda f, node, us, d: f.crash_within_step(
        node, _number(d, "effects", 1), _lose(d), for_us=us
    ),
    "restart": lambda f, node, us, d: f.restart(node),
    "stop": lambda f, node, us, d: f.stop(node, for_us=us),
    "pause": lambda f, node, us, d: f.pause(node, for_us=us),
    "resume": lambda f, node, us, d: f.resume(node),
    "disconnect": _disconnect,
    "partition": _disconnect,
    "isolate": _isolate,
    "clog": _on_links(Faults.clog, lambda d: {}),
    "slow_link": _on_links(
        Faults.slow_link,
        lambda d: {name: _number(d, name, 0) for name in ("delay_us", "bytes_per_s")},
    ),
    "disturb": _on_links(
        Faults.disturb, lambda d: {name: _ratio(d, name) for name in ("loss", "duplicate")}
    ),
    "reset": _reset,
    "heal": lambda f, target, us, d: f.heal(),
    "store_outage": lambda f, target, us, d: f.store_outage(for_us=us),
    "store_back": lambda f, target, us, d: f.end_store_outage(),
    "lose_request": lambda f, node, us, d: f.lose_store_requests(
        node, _number(d, "count", 1), calls=_calls(d)
    ),
    "lose_reply": lambda f, node, us, d: f.lose_store_replies(
        node, _number(d, "count", 1), calls=_calls(d)
    ),
    "lose_writes": lambda f, target, us, d: f.lose_store_writes(_number(d, "count", 1)),
    "stall_disk": lambda f, node, us, d: f.stall_disk(node, for_us=us or 0),
    "fill_disk": lambda f, node, us, d: f.fill_disk(node, for_us=us),
    "damage_disk": lambda f, node, us, d: f.damage_disk(node, _number(d, "records", 1)),
    "replace_disk": lambda f, node, us, d: f.replace_disk(node),
}
"""The action of each fault kind. :class:`yak_sim.world.faults.Faults` records the same kinds."""
