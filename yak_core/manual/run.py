"""Sequences of moves of the manual world, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from yak_core.ids import Micros, NodeId
from yak_core.manual.backend import ManualError
from yak_core.manual.world import DISK, STORE, Manual

SETTLE_MAX: Final = 100_000
"""Maximum number of moves of :func:`settle`; more mean that the nodes never become idle."""


def settle(
    world: Manual, among: tuple[NodeId, ...] | None = None, moves_max: int = SETTLE_MAX
) -> int:
    """Deliver messages and complete disk effects and metadata calls until none is pending.

    Moves are made oldest first; no timer fires. Messages and effects on a held link stay pending. A
    metadata call over a disconnected link ends as Unknown: it is not executed if (node, STORE) is
    disconnected, and executed if only (STORE, node) is. With ``among``, only messages between these
    nodes are delivered, and only their disk effects and metadata calls are completed. Return the
    number of moves. Raises ManualError after ``moves_max`` moves.
    """
    moves = 0
    while True:
        before = moves
        moves += _settle_messages(world, among)
        moves += _settle_disks(world, among) + _settle_store(world, among)
        if moves == before:
            return moves
        if moves > moves_max:
            raise ManualError(f"the nodes are not idle after {moves} moves")


def advance(
    world: Manual,
    us: Micros,
    until: Callable[[], bool] = lambda: False,
    among: tuple[NodeId, ...] | None = None,
) -> bool:
    """Advance all clocks by ``us`` microseconds, and fire each timer at its earliest time.

    :func:`settle` is called before the first and after each timer. With ``among``, only the clocks
    of these nodes advance, so clocks can run at different speeds. Stop as soon as ``until`` returns
    True. Return the last value of ``until``.
    """
    names = tuple(world.nodes) if among is None else among
    origin = {node_id: world.backend(node_id).clock for node_id in names}
    settle(world, among)
    while not until():
        due = _next_due(world, origin, us)
        if due is None:
            _advance_clocks(world, origin, us)
            return until()
        due_in, node_id, key = due
        _advance_clocks(world, origin, due_in)
        world.fire(node_id, key)
        settle(world, among)
    return True


def _settle_messages(world: Manual, among: tuple[NodeId, ...] | None) -> int:
    moves = 0
    for number, flight in list(world.transit.flights.items()):
        if among is not None and (flight.src not in among or flight.dst not in among):
            continue
        if (flight.src, flight.dst) not in world.held:
            world.deliver(number)
            moves += 1
    return moves


def _settle_disks(world: Manual, among: tuple[NodeId, ...] | None) -> int:
    moves = 0
    for node_id, backend in world.nodes.items():
        if (node_id, DISK) in world.held or (among is not None and node_id not in among):
            continue
        for _ in range(len(backend.disk.reads)):
            moves += backend.host is not None and backend.ship()
        for _ in range(len(backend.disk.queue)):
            if backend.host is not None:
                world.disk_complete(node_id)
                moves += 1
    return moves


def _settle_store(world: Manual, among: tuple[NodeId, ...] | None) -> int:
    moves = 0
    disconnected = world.transit.disconnected
    for number, call in list(world.transit.calls.items()):
        if (call.node, STORE) in world.held or (among is not None and call.node not in among):
            continue
        moves += 1
        if (call.node, STORE) in disconnected and call.outcome is None:
            if call.waiting:
                world.meta_unknown(number, lose_request=True)
            else:
                world.meta_drop(number)
        elif (STORE, call.node) in disconnected and call.waiting:
            if call.outcome is None:
                world.meta_execute(number)
            world.meta_unknown(number)
        else:
            world.meta_complete(number)
    return moves


def _next_due(
    world: Manual, origin: dict[NodeId, Micros], us: Micros
) -> tuple[Micros, NodeId, str] | None:
    """Return the timer that is due first within ``us`` of the origins, as (delay, node, key)."""
    best: tuple[Micros, NodeId, str] | None = None
    for node_id in origin:
        backend = world.nodes[node_id]
        for key, timer in backend.timers.items():
            due_in = max(timer.lo_at, backend.clock) - origin[node_id]
            if due_in <= us and (best is None or due_in < best[0]):
                best = (due_in, node_id, key)
    return best


def _advance_clocks(world: Manual, origin: dict[NodeId, Micros], us: Micros) -> None:
    """Set these clocks to ``us`` after their origins, unless they are later."""
    for node_id, at in origin.items():
        backend = world.nodes[node_id]
        backend.clock = max(backend.clock, at + us)
