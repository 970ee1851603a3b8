"""The menu of a walk: 256 concrete moves, so that a walk is a string of bytes.

A byte is a move with everything chosen, simple moves first: Hypothesis shrinks a failing walk by
making bytes smaller, down to 0, which is no move at all, and what is left reads as a list of moves.
How often a move stands on the menu is its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.property import faults, moves
from tests.property.cluster import NODES, PRODUCERS, READER, Cluster
from tests.property.moves import NOTHING

Move = Callable[[Cluster], str]


def each(move: Callable[..., str], *args: Any) -> Move:
    """The move with everything chosen."""
    return lambda cluster: move(cluster, *args)


def rest(cluster: Cluster) -> str:
    return NOTHING


def _menu() -> tuple[Move, ...]:
    """Simple moves first, see the module's sentence. The repeats are the weights."""
    n1, n2, n3 = NODES
    menu: list[Move] = [rest]
    menu += [
        each(moves.deliver, at)
        for at in (0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 8, -1, -1, -1, -2, -3)
    ]
    menu += [each(moves.link, src, dst) for src in NODES for dst in NODES if src != dst] * 2
    menu += [each(moves.clients_link, node) for node in NODES] * 2
    menu += [each(faults.disk_run, node) for node in NODES] * 3
    menu += [each(faults.disk_step, node) for node in NODES] * 2
    menu += [each(faults.disk_perform, node) for node in NODES] * 2
    menu += [each(faults.store_run, node) for node in NODES] * 2
    menu += [
        each(moves.send_through, producer, records)
        for producer in ("p1", "p2")
        for records in (1, 2)
    ] * 3
    menu += [
        each(moves.send, "p1", 1),
        each(moves.send, "p2", 1),
        each(moves.send_through, "p3", 1),
        each(moves.send_through, "p3", 3),
    ]
    menu += [each(moves.send_again, producer) for producer in ("p1", "p2")] * 2
    menu += [moves.poll] * 3
    menu += [each(moves.ask_latest, node) for node in NODES]
    menu += [each(faults.store_backwards, node) for node in NODES]
    menu += [moves.run_quiet] * 8
    menu += [moves.replicate, moves.replicate_last, moves.push_only] * 3
    menu += [each(moves.run_without, node) for node in NODES] * 5
    menu += [each(moves.fire, node, "heartbeat") for node in NODES] * 2
    menu += [each(moves.fire, node, "lease-renewal") for node in NODES]
    menu += [each(moves.fire_any, node) for node in (*NODES, *PRODUCERS, READER)]
    menu += [faults.all_beat] * 4
    menu += [moves.late_heartbeat] * 6
    menu += [each(moves.drift, node) for node in NODES]
    menu += [each(moves.drop, at) for at in (0, 1, 2, 3, -1, -2)]
    menu += [each(moves.duplicate, at) for at in (0, 1, 2, 3, -1, -2)]
    menu += [each(moves.lose_all, node) for node in NODES]
    menu += [
        each(moves.break_link, n1, n2),
        each(moves.break_link, n2, n3),
        each(moves.break_link, n3, n1),
    ]
    menu += [
        each(faults.store_execute, 0),
        each(faults.store_execute, 1),
        each(faults.store_repeat, 0),
        each(faults.store_repeat, 1),
    ]
    menu += [
        each(faults.store_unknown, at, executed, lost)
        for at in (0, 1)
        for executed, lost in ((True, False), (False, True), (False, False))
    ] * 2
    menu += [each(faults.stand, node) for node in NODES] * 3
    menu += [each(faults.stand_and_lead, a, b) for a in NODES for b in NODES if a != b] * 2
    menu += [faults.failover] * 6
    menu += [each(faults.bring_up, node) for node in NODES] * 3
    menu += [each(faults.crash, node, keep) for node in NODES for keep in (0, 1)] * 2
    menu += [each(faults.crash_within, node, effects) for node in NODES for effects in (1, 2)]
    menu += [each(faults.append_and_crash, node) for node in NODES]
    menu += [faults.leader_append_and_crash] * 3
    menu += [each(faults.stop, node) for node in NODES]
    menu += [each(faults.disk_full, node) for node in NODES]
    menu += [each(faults.wipe, n2), each(faults.old_copy, n3)]
    assert len(menu) <= 256, len(menu)
    menu += [moves.run_quiet] * (256 - len(menu))
    return tuple(menu)


MENU = _menu()


def walk(cluster: Cluster, moves: bytes) -> None:
    """Make the moves; an InvariantViolated or a node's assertion ends the walk."""
    for code in moves:
        cluster.counts.moves += 1
        cluster.story.append("a move that did not end")
        told = MENU[code](cluster)
        cluster.story.pop()
        if told != NOTHING:
            cluster.story.append(told)
