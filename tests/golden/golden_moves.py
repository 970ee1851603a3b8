"""Golden commands that move messages, time, disk effects and store calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.golden import golden_lines
from tests.golden.golden_args import Args
from tests.golden.golden_stage import Stage
from yak_core.contract.messages import Message
from yak_core.ids import Micros, NodeId
from yak_core.manual.backend import Flight, MetaCall
from yak_core.manual.run import advance, settle
from yak_core.metadata import transitions
from yak_core.metadata.store_calls import Cas, Publish, Read, RenewLease

PATIENCE: Final[Micros] = 60_000_000
"""Timeout of ``run until`` and ``elect``."""

CALLS: Final = {"read": Read, "cas": Cas, "renew": RenewLease, "publish": Publish}


# Messages.


def deliver(stage: Stage, args: Args) -> None:
    """``deliver n1->n2 [Ack] [nth=K]``: deliver the messages on a link, in order, or the K-th."""
    for flight in _flights(stage, args):
        stage.world.deliver(flight.number)


def drop(stage: Stage, args: Args) -> None:
    """``drop n1->n2 [Ack] [nth=K]``: drop them instead."""
    for flight in _flights(stage, args):
        stage.world.drop(flight.number)
        stage.say(f"lost: {stage.flight(flight)}")


def refuse(stage: Stage, args: Args) -> None:
    """``refuse p1->n1 [Produce] [nth=K]``: these requests never leave; the client gets NotSent."""
    for flight in _flights(stage, args):
        stage.say(f"never sent: {stage.flight(flight)}")
        stage.world.not_sent(flight.number)


def capture(stage: Stage, args: Args) -> None:
    """``capture NAME n1->n2 [Ack] [nth=K]``: take a message off the wire, for ``redeliver``."""
    name = args.next("a name for what is captured")
    taken = tuple(_flights(stage, args))
    for flight in taken:
        del stage.world.transit.flights[flight.number]
        stage.say(f"captured: {stage.flight(flight)}")
    stage.captured[name] = taken


def redeliver(stage: Stage, args: Args) -> None:
    """``redeliver NAME``: deliver a captured message, any number of times."""
    name = args.next("the name of what was captured")
    args.finish()
    if name not in stage.captured:
        raise args.error(f"nothing was captured as {name}")
    for flight in stage.captured[name]:
        number = stage.world.transit.number()
        stage.world.transit.flights[number] = replace(flight, number=number)
        stage.world.deliver(number)


def duplicate(stage: Stage, args: Args) -> None:
    """``duplicate n1->n2 [Ack] [nth=K]``: put a copy on the wire."""
    for flight in _flights(stage, args):
        stage.world.duplicate(flight.number)


def hold(stage: Stage, args: Args) -> None:
    """``hold n1->n2``, ``hold n1->disk`` or ``n1->store``: ``settle`` and ``run`` skip it."""
    for src, dst in args.links():
        stage.world.held[src, dst] = None


def release(stage: Stage, args: Args) -> None:
    """``release n1->n2``, or ``release`` for all: end a hold."""
    for link in args.links() if args.plain else list(stage.world.held):
        if link not in stage.world.held:
            raise args.error(f"{link[0]}->{link[1]} is not held")
        del stage.world.held[link]


def disconnect(stage: Stage, args: Args) -> None:
    """``disconnect n1->n2 n1<->store``: messages on these links are lost."""
    for src, dst in args.links():
        stage.world.transit.disconnected[src, dst] = None


def heal(stage: Stage, args: Args) -> None:
    """``heal``: connect all links."""
    args.finish()
    stage.world.transit.disconnected.clear()


# Time.


def fire(stage: Stage, args: Args) -> None:
    """``fire n1 heartbeat``: fire a timer."""
    node, key = args.next("the node"), args.next("the timer")
    args.finish()
    stage.world.fire(node, key)


def stall(stage: Stage, args: Args) -> None:
    """``stall n1 3s``: pause its process; its clock moves on and its timers become overdue."""
    node, word = args.next("the node"), args.next("how long")
    args.finish()
    stage.world.running(node).clock += args.duration(word)


def run(stage: Stage, args: Args) -> None:
    """``run 3s [n1 n2]`` or ``run until isr=n1,n2 [n1 n2]``: advance time and fire timers.

    Messages, disk effects and store calls complete at once. With nodes, time passes for these
    only, and messages move only between them. ``until`` takes isr=, leader= and version= of the
    partition state, or hw=n1:3, role=n1:leader and end=n1:3 of a node.
    """
    word = args.next("how long, or until")
    among = _among(args)
    wanted = dict(args.options)
    args.options.clear()
    if word != "until":
        advance(stage.world, args.duration(word), among=among)
        return
    _wait(stage, args, lambda: all(_holds(stage, args, k, v) for k, v in wanted.items()), among)


def elect(stage: Stage, args: Args) -> None:
    """``elect n2``: advance n2 alone until it has seen the lease expire and leads."""
    node = args.next("the candidate")
    args.finish()
    _wait(stage, args, lambda: _holds(stage, args, "role", f"{node}:leader"), (node,))


def settle_all(stage: Stage, args: Args) -> None:
    """``settle [n1 n2]``: deliver, complete and answer until nothing is pending; no timer fires.

    With nodes, only messages between these, and their disks and metadata calls.
    """
    settle(stage.world, _among(args))


# The disk and the store.


def disk(stage: Stage, args: Args) -> None:
    """``disk n1 done|full|perform|report [count=K]``: move a disk's first effects.

    ``perform`` executes an effect, ``report`` delivers its completion; ``done`` is both, ``full``
    is a failed append.
    """
    node, move, count = args.next("the node"), args.next("the move"), args.number("count", 1)
    args.finish()
    world = stage.world
    moves: dict[str, Callable[[], None]] = {
        "done": lambda: world.disk_complete(node),
        "full": lambda: world.disk_complete(node, no_space=True),
        "perform": lambda: world.disk_perform(node),
        "report": lambda: world.disk_report(node),
    }
    if move not in moves:
        raise args.error(f"{move} is not one of {', '.join(moves)}")
    for _ in range(count):
        moves[move]()


def store(stage: Stage, args: Args) -> None:
    """``store n1 MOVE [cas|read|renew|publish] [nth=K]``.

    ``MOVE`` is happen, reply, answer, unknown, lose, repeat or capture.

    Moves the node's metadata call: execute it, deliver its reply, or both; or time it out while the
    request is in flight or lost; or execute a copy. A captured call continues with
    ``store n1 redeliver``.
    """
    node, move = args.next("the node"), args.next("the move")
    world = stage.world
    if move == "redeliver":
        args.finish()
        for known in stage.captured_calls.pop(node, ()):
            world.transit.calls[known.number] = known
            world.meta_complete(known.number)
        return
    call = _call(stage, args, node)
    if move == "happen":
        world.meta_execute(call.number)
    elif move == "reply":
        world.meta_reply(call.number)
    elif move == "answer":
        world.meta_complete(call.number)
    elif move == "unknown":
        world.meta_unknown(call.number)
    elif move == "lose":
        world.meta_unknown(call.number, lose_request=True)
    elif move == "capture":
        del world.transit.calls[call.number]
        stage.captured_calls[node] = (*stage.captured_calls.get(node, ()), call)
        reply = "" if call.outcome is None else f": {golden_lines.replied(call.outcome)}"
        stage.say(f"captured: {node} -> store {golden_lines.called(call.request)}{reply}")
    elif move == "repeat":
        world.meta_execute(world.meta_repeat(call.number))
    else:
        raise args.error(f"{move} is no move of a metadata call")


def register(stage: Stage, args: Args) -> None:
    """``register n2``: another process registers under this node's id."""
    node = args.next("the node")
    args.finish()
    known = stage.world.store.state
    if known is None:
        raise args.error("the store holds no record")
    entered = transitions.register(known, attempt="another-1", node=node, clean=True, url="")
    if isinstance(entered, transitions.Rejected):
        raise args.error(entered.reason)
    stage.world.store.apply(Cas(known.stamp, entered, None))
    stage.say(f"store {golden_lines.record(entered)}")


def rollback(stage: Stage, args: Args) -> None:
    """``rollback [by=1]``: the store loses its last confirmed writes, as after a bad failover."""
    by = args.number("by", 1)
    args.finish()
    kept = stage.world.store.history
    if not 0 < by < len(kept):
        raise args.error(f"the store has had {len(kept)} records")
    stage.world.store.state = kept[-1 - by]
    del kept[-by:]
    stage.say(f"store {golden_lines.record(kept[-1])}")


def _flights(stage: Stage, args: Args) -> list[Flight]:
    src, dst = args.link()
    kind, nth = args.rest(), args.number("nth", 0)
    args.finish()
    found = [
        flight
        for flight in stage.world.transit.flights.values()
        if (flight.src, flight.dst) == (src, dst) and kind in ([], [_kind(flight.message)])
    ]
    if not found or nth > len(found):
        raise args.error(f"there are {len(found)} such messages on {src}->{dst}")
    return [found[nth - 1]] if nth else found


def _kind(message: Message) -> str:
    return golden_lines.sent(message).split()[0]


def _call(stage: Stage, args: Args, node: NodeId) -> MetaCall:
    kinds, nth = args.rest(), args.number("nth", 1)
    args.finish()
    for kind in kinds:
        if kind not in CALLS:
            raise args.error(f"{kind} is not one of {', '.join(CALLS)}")
    wanted = tuple(CALLS[kind] for kind in kinds) or (Read, Cas)
    found = [
        call
        for call in stage.world.transit.calls.values()
        if call.node == node and isinstance(call.request, wanted)
    ]
    if nth > len(found):
        raise args.error(f"{node} has {len(found)} such metadata calls under way")
    return found[nth - 1]


def _among(args: Args) -> tuple[NodeId, ...] | None:
    return tuple(args.rest()) or None


def _wait(
    stage: Stage, args: Args, until: Callable[[], bool], among: tuple[NodeId, ...] | None
) -> None:
    if not advance(stage.world, PATIENCE, until, among):
        raise args.error(f"timeout after {PATIENCE // 1_000_000} s")


def await_record(stage: Stage, args: Args, key: str, value: str) -> None:
    """Advance time until the partition state in the store has this value."""
    _wait(stage, args, lambda: _recorded(stage, key) == value, None)


def _recorded(stage: Stage, key: str) -> str:
    value = stage.world.store.state
    if value is None:
        return ""
    found = {"isr": golden_lines.nodes(value.isr), "leader": value.leader or "-"}
    found |= {"version": str(value.partition_epoch), "epoch": str(value.leader_epoch)}
    return found[key]


def _holds(stage: Stage, args: Args, key: str, wanted: str) -> bool:
    if key in ("isr", "leader", "version", "epoch"):
        return _recorded(stage, key) == wanted
    node, _, value = wanted.partition(":")
    if key not in ("hw", "end", "role") or node not in stage.world.nodes:
        raise args.error(f"unknown condition: {key}={wanted}")
    host = stage.world.nodes[node].host
    name = {"hw": "hw", "end": "leo", "role": "role"}[key]
    return host is not None and str(dict(host.node.snapshot().values).get(name)) == value
