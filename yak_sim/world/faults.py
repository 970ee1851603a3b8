"""Everything that can be done to a running world, a line each; must never choose what to do.

Each fault is kept in the words of a plan (docs/formats.md): when, what kind, what target, for how
long. Where two sets of ends are meant, ``n1>n2,store`` is one direction and ``n1|n2,store`` both. A
fault with a duration ends by itself; ending it sooner, or ending what is over, does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Fault
from yak_sim.physics.choices import NEVER, Ratio
from yak_sim.physics.engine import Engine
from yak_sim.physics.kinds import LinkFault, Loss
from yak_sim.physics.network import NetworkFault
from yak_sim.physics.store import ANY
from yak_sim.physics.topology import BROKERS, EVERYONE, STORE
from yak_sim.world.situations import Situation

Ends: TypeAlias = str | Iterable[str]
"""One node id, ``store``, a group (``brokers``, ``clients``, ``*``), or several."""

Details: TypeAlias = tuple[tuple[str, int | str], ...]


class Faults:
    """The faults of one world.

    ``keep`` gets each fault as it begins, ``tell`` a line for the narrative, and ``reach`` the
    situation of a crash with batches that were written and not flushed.
    """

    def __init__(
        self,
        engine: Engine,
        keep: Callable[[Fault], None],
        tell: Callable[[str], None],
        reach: Callable[[Situation], None],
    ) -> None:
        self._engine = engine
        self._keep = keep
        self._tell = tell
        self._reach = reach
        self._burnt: dict[NodeId, Micros | None] = {}
        self._after_exit: dict[NodeId, Micros | None] = {}

    def at(self, at_us: Micros, act: Callable[[], None]) -> None:
        """Do something at this time; a time that is over means now."""
        clock = self._engine.clock
        clock.after(max(0, at_us - clock.now()), act)

    # Processes.

    def crash(
        self, node: NodeId, lose: str = Loss.UNSYNCED, *, for_us: Micros | None = None
    ) -> None:
        """End a process without warning; ``lose`` is a Loss. Raises ValueError for another word."""
        loss = Loss(lose)
        machine = self._engine.machines[node]
        if not machine.up:
            return
        self._begin("crash", node, for_us, (("lose", loss.value),))
        self._crashed(node, machine.crash(loss), for_us)

    def crash_within_step(
        self, node: NodeId, effects: int, lose: str = Loss.UNSYNCED, *, for_us: Micros | None = None
    ) -> None:
        """Crash after so many more effects, which may be between two effects of one step."""
        loss = Loss(lose)
        machine = self._engine.machines[node]
        if not machine.up:
            return
        details: Details = (("lose", loss.value), ("effects", effects))
        self._begin("crash_within_step", node, None, details)
        self._burnt[node] = for_us
        machine.light_fuse(effects, loss)

    def on_fuse_burnt(self, node: NodeId, unflushed: int) -> None:
        """The crash that crash_within_step had prepared has come."""
        self._crashed(node, unflushed, self._burnt.pop(node, None))

    def restart(self, node: NodeId) -> None:
        """Start a process that is not running, on what its disk holds."""
        machine = self._engine.machines[node]
        if not machine.up:
            self._begin("restart", node, None)
            self._tell(f"{node} starts again with a log up to {machine.disk.image.leo}")
            machine.start()

    def stop(
        self, node: NodeId, *, deadline_us: Micros = 5_000_000, for_us: Micros | None = None
    ) -> None:
        """Ask a process to stop in good order; start it again ``for_us`` after it has."""
        machine = self._engine.machines[node]
        if machine.up and not machine.stopping:
            self._begin("stop", node, for_us)
            self._tell(f"{node} is asked to stop")
            self._after_exit[node] = for_us
            machine.ask_to_stop(deadline_us)

    def on_exit(self, node: NodeId) -> None:
        """The process has stopped as it was asked."""
        starts = self._engine.machines[node].starts
        self._later(
            self._after_exit.pop(node, None), partial(self._restart_if_still_down, node, starts)
        )

    def pause(self, node: NodeId, *, for_us: Micros | None = None) -> None:
        """Let a process take nothing in, and then everything at once."""
        machine = self._engine.machines[node]
        if machine.up and not machine.paused:
            self._begin("pause", node, for_us)
            self._tell(f"{node} is paused")
            machine.pause()
            self._later(for_us, partial(self.resume, node))

    def resume(self, node: NodeId) -> None:
        """Let a paused process go on."""
        machine = self._engine.machines[node]
        if machine.paused:
            self._begin("resume", node, None)
            self._tell(f"{node} goes on")
            machine.resume()

    # Links.

    def disconnect(
        self, sources: Ends, targets: Ends, *, for_us: Micros | None = None
    ) -> NetworkFault:
        """Lose everything on the way from ``sources`` to ``targets``."""
        fault = NetworkFault(LinkFault.DISCONNECT, _ends(sources), _ends(targets))
        return self._on_links("disconnect", fault, for_us)

    def partition(self, one: Ends, other: Ends, *, for_us: Micros | None = None) -> NetworkFault:
        """Lose everything between two sides, in both directions."""
        fault = NetworkFault(LinkFault.DISCONNECT, _ends(one), _ends(other), two_way=True)
        return self._on_links("partition", fault, for_us)

    def isolate(
        self, node: NodeId, *, from_: Ends | None = None, for_us: Micros | None = None
    ) -> NetworkFault:
        """Lose everything between a broker and the other brokers and the store, not the clients."""
        others = [n for n, m in self._engine.machines.items() if m.group == BROKERS and n != node]
        far = _ends(from_ or (*others, STORE))
        return self._on_links(
            "isolate", NetworkFault(LinkFault.DISCONNECT, (node,), far, two_way=True), for_us
        )

    def clog(
        self, sources: Ends, targets: Ends, *, two_way: bool = False, for_us: Micros | None = None
    ) -> NetworkFault:
        """Hold everything back; it is delivered all at once when the fault ends."""
        fault = NetworkFault(LinkFault.CLOG, _ends(sources), _ends(targets), two_way)
        return self._on_links("clog", fault, for_us)

    def slow_link(
        self,
        sources: Ends,
        targets: Ends,
        *,
        delay_us: Micros = 0,
        bytes_per_s: int = 0,
        two_way: bool = False,
        for_us: Micros | None = None,
    ) -> NetworkFault:
        """Add a fixed delay, or let through only so many bytes a second, or both."""
        fault = NetworkFault(
            LinkFault.SLOW, _ends(sources), _ends(targets), two_way, delay_us, bytes_per_s
        )
        details = (("delay_us", delay_us), ("bytes_per_s", bytes_per_s))
        return self._on_links("slow_link", fault, for_us, details)

    def disturb(
        self,
        sources: Ends = EVERYONE,
        targets: Ends = EVERYONE,
        *,
        loss: Ratio = NEVER,
        duplicate: Ratio = NEVER,
        two_way: bool = False,
        for_us: Micros | None = None,
    ) -> NetworkFault:
        """Lose or repeat messages at random."""
        ends = _ends(sources), _ends(targets)
        fault = NetworkFault(LinkFault.DISTURB, *ends, two_way, loss=loss, duplicate=duplicate)
        details = (
            ("loss", f"{loss[0]}/{loss[1]}"),
            ("duplicate", f"{duplicate[0]}/{duplicate[1]}"),
        )
        return self._on_links("disturb", fault, for_us, details)

    def reset(self, one: str, other: str) -> None:
        """Break the connection of two brokers: both are told, what was under way is lost."""
        self._begin("reset", f"{one}|{other}", None)
        self._engine.network.reset(one, other)
        for node, peer in ((one, other), (other, one)):
            self._engine.machines[node].lose_peer(peer)

    def heal(self, fault: NetworkFault | None = None) -> None:
        """End one network fault, or all of them."""
        ended = [f for f in self._engine.network.faults() if fault is None or f is fault]
        for each in ended:
            self._end(each)

    # Store and disks.

    def store_outage(self, *, for_us: Micros | None = None) -> None:
        """Let no call reach the metadata store."""
        self._begin("store_outage", STORE, for_us)
        self._tell("the metadata store is out of reach")
        self._engine.store.down = True
        self._later(for_us, self.end_store_outage)

    def end_store_outage(self) -> None:
        """Let calls reach the metadata store again."""
        if self._engine.store.down:
            self._engine.store.down = False
            self._begin("store_back", STORE, None)
            self._tell("the metadata store is back")

    def lose_store_requests(self, node: NodeId, count: int = 1, *, calls: str = ANY) -> None:
        """Lose the next calls of a node; ``calls`` is any, or cas for those that write."""
        self._begin("lose_request", node, None, (("count", count), ("calls", calls)))
        self._engine.store.lose_requests(node, count, calls)

    def lose_store_replies(self, node: NodeId, count: int = 1, *, calls: str = ANY) -> None:
        """Carry out the next calls of a node and lose the answers."""
        self._begin("lose_reply", node, None, (("count", count), ("calls", calls)))
        self._engine.store.lose_replies(node, count, calls)

    def stall_disk(self, node: NodeId, *, for_us: Micros) -> None:
        """Complete no disk operation of a node for so long."""
        self._begin("stall_disk", node, for_us)
        self._tell(f"the disk of {node} stalls")
        self._engine.machines[node].disk.stall(for_us)

    def fill_disk(self, node: NodeId, *, for_us: Micros | None = None) -> None:
        """Let appends of a node find no space."""
        disk = self._engine.machines[node].disk
        self._begin("fill_disk", node, for_us)
        self._tell(f"the disk of {node} is full")
        disk.full = True
        self._later(for_us, disk.revive)

    def heal_everything(self) -> None:
        """End every fault: network, store, disks, pauses; and start what is not running."""
        self.heal(None)
        self.end_store_outage()
        self._engine.store.recover()
        for node in self._engine.topology.brokers:
            machine = self._engine.machines[node]
            machine.disk.revive()
            machine.put_out_fuse()
            self.resume(node)
            self.restart(node)
            if machine.stopping:
                self._after_exit[node] = 0

    def _crashed(self, node: NodeId, unflushed: int, for_us: Micros | None) -> None:
        left = f", {unflushed} batches were not flushed" if unflushed else ""
        self._tell(f"{node} crashed{left}")
        if unflushed:
            self._reach(Situation.UNFLUSHED_CRASH)
        if self._engine.topology.peer_lost:
            for other, machine in self._engine.machines.items():
                if machine.group == BROKERS and other != node:
                    self._engine.clock.after(1_000, partial(machine.lose_peer, node))
        self._later(
            for_us, partial(self._restart_if_still_down, node, self._engine.machines[node].starts)
        )

    def _restart_if_still_down(self, node: NodeId, starts: int) -> None:
        """Restart, unless somebody else did so in the meantime."""
        if self._engine.machines[node].starts == starts:
            self.restart(node)

    def _on_links(
        self, kind: str, fault: NetworkFault, for_us: Micros | None, details: Details = ()
    ) -> NetworkFault:
        target = _target(fault)
        self._begin(kind, target, for_us, details)
        self._tell(f"{kind.replace('_', ' ')} {target}")
        self._engine.network.add(fault)
        self._later(for_us, partial(self._end, fault))
        return fault

    def _end(self, fault: NetworkFault) -> None:
        if self._engine.network.remove(fault):
            target = _target(fault)
            self._begin("heal", target, None)
            self._tell(f"healed: {target}")

    def _begin(self, kind: str, target: str, for_us: Micros | None, details: Details = ()) -> None:
        self._keep(Fault(self._engine.clock.now(), kind, target, for_us, details))

    def _later(self, for_us: Micros | None, act: Callable[[], None]) -> None:
        if for_us is not None:
            self._engine.clock.after(for_us, act)


class HasFaults(Protocol):
    """A world: what it does to itself is done by its ``faults``."""

    faults: Faults


P = ParamSpec("P")
R = TypeVar("R")


def fault_of_world(
    method: Callable[Concatenate[Faults, P], R],
) -> Callable[Concatenate[HasFaults, P], R]:
    """Return a method of a world that calls this method of its ``faults``, docstring included."""

    @wraps(method)
    def call(self: HasFaults, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.faults, *args, **kwargs)

    call.__qualname__ = f"World.{method.__name__}"
    return call


def _ends(ends: Ends) -> tuple[str, ...]:
    return (ends,) if isinstance(ends, str) else tuple(ends)


def _target(fault: NetworkFault) -> str:
    sign = "|" if fault.two_way else ">"
    return f"{','.join(fault.sources)}{sign}{','.join(fault.targets)}"
