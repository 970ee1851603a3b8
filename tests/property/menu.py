"""The menu of a walk: 256 concrete moves, so that a walk is a string of bytes.

A byte is a move with all its arguments, simple moves first: Hypothesis shrinks a failing walk by
making bytes smaller, down to 0, which is no move. The number of bytes of a move is its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import permutations, product
from typing import Any

from tests.property import faults, moves
from tests.property.cluster import NODES, PRODUCERS, READER, Cluster
from tests.property.moves import NOTHING

Move = Callable[[Cluster], str]


def one(move: Callable[..., str], *arguments: Any) -> Move:
    """Return the move with all its arguments."""
    return lambda cluster: move(cluster, *arguments)


def each(move: Callable[..., str], *choices: Iterable[Any]) -> list[Move]:
    """Return the move with each choice of its arguments, the last one varying fastest."""
    return [one(move, *arguments) for arguments in product(*choices)]


def rest(cluster: Cluster) -> str:
    return NOTHING


def _menu() -> tuple[Move, ...]:
    """Return the moves, simple ones first; the repeats are the weights."""
    n1, n2, n3 = NODES
    p1, p2, p3 = PRODUCERS
    menu: list[Move] = [rest]
    menu += each(moves.deliver, (0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 8, -1, -1, -1, -2, -3))
    menu += [one(moves.link, *pair) for pair in permutations(NODES, 2)] * 2
    menu += each(moves.clients_link, NODES) * 2
    menu += each(faults.disk_run, NODES) * 3
    menu += each(faults.disk_step, NODES) * 2
    menu += each(faults.disk_perform, NODES) * 2
    menu += each(faults.store_run, NODES) * 2
    menu += each(moves.send_through, (p1, p2), (1, 2)) * 3
    menu += each(moves.send, (p1, p2), (1,)) + each(moves.send_through, (p3,), (1, 3))
    menu += each(moves.send_again, (p1, p2)) * 2
    menu += [moves.poll] * 3
    menu += each(moves.ask_latest, NODES)
    menu += each(faults.store_backwards, NODES)
    menu += [moves.run_quiet] * 5
    menu += [moves.replicate, moves.replicate_last, moves.push_only] * 3
    menu += each(moves.run_without, NODES) * 5
    menu += each(moves.fire, NODES, ("heartbeat",)) * 2
    menu += each(moves.fire, NODES, ("lease-renewal",))
    menu += each(moves.fire_any, (*NODES, *PRODUCERS, READER))
    menu += [faults.renew_all] * 3
    menu += [moves.late_heartbeat] * 5
    menu += each(moves.drift, NODES)
    menu += each(moves.drop, (0, 1, 2, 3, -1, -2))
    menu += each(moves.duplicate, (0, 1, 2, 3, -1, -2))
    menu += each(moves.lose_all, NODES)
    menu += [one(moves.break_link, *pair) for pair in ((n1, n2), (n2, n3), (n3, n1))]
    menu += each(faults.store_execute, (0, 1)) + each(faults.store_repeat, (0, 1))
    menu += [
        one(faults.store_unknown, at, *how)
        for at in (0, 1)
        for how in ((True, False), (False, True), (False, False))
    ] * 2
    menu += each(faults.campaign, NODES) * 3
    menu += [one(faults.campaign_and_lead, *pair) for pair in permutations(NODES, 2)] * 2
    menu += [faults.failover] * 5
    menu += each(faults.bring_up, NODES) * 3
    menu += each(faults.crash, NODES, (0, 1)) * 2
    menu += each(faults.kill, NODES)
    menu += each(faults.kill_while_starting, NODES)
    menu += each(faults.crash_within, NODES, (1, 2))
    menu += each(faults.append_and_crash, NODES)
    menu += [faults.leader_append_and_crash] * 3
    menu += each(faults.stop, NODES)
    menu += each(faults.disk_full, NODES)
    menu += each(faults.wipe, (n2,)) + each(faults.old_copy, (n3,))
    assert len(menu) <= 256, len(menu)
    menu += [moves.run_quiet] * (256 - len(menu))
    return tuple(menu)


MENU = _menu()


def walk(cluster: Cluster, moves: bytes) -> None:
    """Make the moves; InvariantViolated or an assertion of a node ends the walk."""
    for code in moves:
        cluster.counts.moves += 1
        cluster.moves_made.append("a move that did not end")
        outcome = MENU[code](cluster)
        cluster.moves_made.pop()
        if outcome != NOTHING:
            cluster.moves_made.append(outcome)
