"""The menu of a walk: 256 concrete moves, so that a walk is a string of bytes.

A byte is a move with everything chosen, simple moves first: Hypothesis shrinks a failing walk by
making bytes smaller, down to 0, which is no move at all, and what is left reads as a list of moves.
How often a move stands on the menu is its weight.
"""

from __future__ import annotations

from tests.property.cluster import NODES, PRODUCERS, READER, Cluster
from tests.property.faults import (
    all_beat,
    append_and_crash,
    bring_up,
    crash,
    crash_within,
    disk_full,
    disk_perform,
    disk_run,
    disk_step,
    failover,
    leader_append_and_crash,
    old_copy,
    stand,
    stand_and_lead,
    stop,
    store_backwards,
    store_execute,
    store_repeat,
    store_run,
    store_unknown,
    wipe,
)
from tests.property.moves import (
    NOTHING,
    Move,
    ask_latest,
    break_link,
    clients_link,
    deliver,
    drift,
    drop,
    duplicate,
    fire,
    fire_any,
    late_heartbeat,
    link,
    lose_all,
    poll,
    push_only,
    replicate,
    replicate_last,
    run_quiet,
    run_without,
    send,
    send_again,
    send_through,
)


def rest(cluster: Cluster) -> str:
    return NOTHING


def _menu() -> tuple[Move, ...]:
    """Simple moves first, see the module's sentence. The repeats are the weights."""
    n1, n2, n3 = NODES
    menu: list[Move] = [rest]
    menu += [deliver(at) for at in (0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 8, -1, -1, -1, -2, -3)]
    menu += [link(src, dst) for src in NODES for dst in NODES if src != dst] * 2
    menu += [clients_link(node) for node in NODES] * 2
    menu += [disk_run(node) for node in NODES] * 3
    menu += [disk_step(node) for node in NODES] * 2
    menu += [disk_perform(node) for node in NODES] * 2
    menu += [store_run(node) for node in NODES] * 2
    menu += [send_through(producer, records) for producer in ("p1", "p2") for records in (1, 2)] * 3
    menu += [send("p1", 1), send("p2", 1), send_through("p3", 1), send_through("p3", 3)]
    menu += [send_again(producer) for producer in ("p1", "p2")] * 2
    menu += [poll] * 3
    menu += [ask_latest(node) for node in NODES]
    menu += [store_backwards(node) for node in NODES]
    menu += [run_quiet] * 8
    menu += [replicate, replicate_last, push_only] * 3
    menu += [run_without(node) for node in NODES] * 5
    menu += [fire(node, "heartbeat") for node in NODES] * 2
    menu += [fire(node, "lease-renewal") for node in NODES]
    menu += [fire_any(node) for node in (*NODES, *PRODUCERS, READER)]
    menu += [all_beat] * 4
    menu += [late_heartbeat] * 6
    menu += [drift(node) for node in NODES]
    menu += [drop(at) for at in (0, 1, 2, 3, -1, -2)]
    menu += [duplicate(at) for at in (0, 1, 2, 3, -1, -2)]
    menu += [lose_all(node) for node in NODES]
    menu += [break_link(n1, n2), break_link(n2, n3), break_link(n3, n1)]
    menu += [store_execute(0), store_execute(1), store_repeat(0), store_repeat(1)]
    menu += [
        store_unknown(at, executed=executed, lost=lost)
        for at in (0, 1)
        for executed, lost in ((True, False), (False, True), (False, False))
    ] * 2
    menu += [stand(node) for node in NODES] * 3
    menu += [stand_and_lead(a, b) for a in NODES for b in NODES if a != b] * 2
    menu += [failover] * 6
    menu += [bring_up(node) for node in NODES] * 3
    menu += [crash(node, keep) for node in NODES for keep in (0, 1)] * 2
    menu += [crash_within(node, effects) for node in NODES for effects in (1, 2)]
    menu += [append_and_crash(node) for node in NODES]
    menu += [leader_append_and_crash] * 3
    menu += [stop(node) for node in NODES]
    menu += [disk_full(node) for node in NODES]
    menu += [wipe(n2), old_copy(n3)]
    assert len(menu) <= 256, len(menu)
    menu += [run_quiet] * (256 - len(menu))
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
