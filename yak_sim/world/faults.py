"""The faults of a simulated world: crashes, network faults, store outages, disk faults.

Each fault is recorded in the format of a plan (docs/formats.md): time, kind, target, duration. A
target with two sides is ``n1>n2,store`` for one direction and ``n1|n2,store`` for both. A fault
with a duration ends by itself. Ending it earlier is allowed; ending it twice has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Fault
from yak_sim.physics.choices import NEVER, Ratio
from yak_sim.physics.disk import SimDisk
from yak_sim.physics.kinds import LinkFault, Loss
from yak_sim.physics.network import NetworkFault
from yak_sim.physics.store import ANY
from yak_sim.physics.topology import BROKERS, EVERYONE, STORE, check_micros
from yak_sim.world.cluster import Cluster
from yak_sim.world.situations import Situation

Ends: TypeAlias = str | Iterable[str]
"""A node id, ``store``, a group (``brokers``, ``clients``, ``*``), or a sequence of them."""

Details: TypeAlias = tuple[tuple[str, int | str], ...]


class Faults(Cluster):
    """The faults of one world; each is recorded when it begins."""

    _on_fault: Callable[[Fault], None]
    _on_damage: Callable[[NodeId], None]
    _restart_after_crash: dict[NodeId, Micros | None]
    _restart_after_exit: dict[NodeId, Micros | None]

    def call_at(self, at_us: Micros, action: Callable[[], None]) -> None:
        """Call ``action`` at this time, now if the time has passed."""
        clock = self.engine.clock
        clock.after(max(0, check_micros("at_us", at_us) - clock.now()), action)

    # Processes.

    def crash(
        self, node: NodeId, lose: str = Loss.UNSYNCED, *, for_us: Micros | None = None
    ) -> None:
        """Crash a process, and restart it after ``for_us``.

        ``lose`` is what happens to records that were not flushed: ``unsynced``: all are lost,
        ``some``: a suffix is lost, ``torn``: the last one that remains is damaged, ``nothing``: all
        remain. Raise ValueError for another value.
        """
        loss = Loss(lose)
        _check_duration(for_us)
        machine = self._machine(node)
        if not machine.up:
            return
        self._record("crash", node, for_us, (("lose", loss.value),))
        self._on_crashed(node, machine.crash(loss), for_us)

    def crash_within_step(
        self, node: NodeId, effects: int, lose: str = Loss.UNSYNCED, *, for_us: Micros | None = None
    ) -> None:
        """Crash a process after its next ``effects`` effects, possibly in the middle of a step."""
        loss = Loss(lose)
        _check_duration(for_us)
        machine = self._machine(node)
        if not machine.up:
            return
        details: Details = (("lose", loss.value), ("effects", effects))
        self._record("crash_within_step", node, None, details)
        self._restart_after_crash[node] = for_us
        machine.crash_after_effects(effects, loss)

    def _on_crash_within_step(self, node: NodeId, unflushed: int) -> None:
        """Handle the crash that crash_within_step prepared."""
        self._on_crashed(node, unflushed, self._restart_after_crash.pop(node, None))

    def restart(self, node: NodeId) -> None:
        """Start a process that is down, with the contents of its disk."""
        machine = self._machine(node)
        if not machine.up:
            self._record("restart", node, None)
            self.tell(f"{node} restarts, log end {machine.disk.image.leo}")
            machine.start()

    def stop(
        self, node: NodeId, *, deadline_us: Micros = 5_000_000, for_us: Micros | None = None
    ) -> None:
        """Request a clean stop of a process, and restart it ``for_us`` after it has stopped.

        After ``deadline_us``, the broker stops even if its last writes are not complete.
        """
        check_micros("deadline_us", deadline_us)
        machine = self._machine(node)
        if machine.up and not machine.stopping:
            self._record("stop", node, for_us)
            self.tell(f"stop requested for {node}")
            self._restart_after_exit[node] = for_us
            machine.request_stop(deadline_us)

    def _on_exit(self, node: NodeId) -> None:
        """Handle the end of a process that was requested to stop."""
        starts = self._machine(node).starts
        restart = partial(self._restart_if_still_down, node, starts)
        self._after(self._restart_after_exit.pop(node, None), restart)

    def pause(self, node: NodeId, *, for_us: Micros | None = None) -> None:
        """Pause a process. Its events are queued and delivered when it resumes."""
        machine = self._machine(node)
        if machine.up and not machine.paused:
            self._record("pause", node, for_us)
            self.tell(f"{node} is paused")
            machine.pause()
            self._after(for_us, partial(self.resume, node))

    def resume(self, node: NodeId) -> None:
        """Resume a paused process."""
        machine = self._machine(node)
        if machine.paused:
            self._record("resume", node, None)
            self.tell(f"{node} is resumed")
            machine.resume()

    # Links.

    def disconnect(
        self, sources: Ends, targets: Ends, *, for_us: Micros | None = None
    ) -> NetworkFault:
        """Drop all messages from ``sources`` to ``targets``."""
        fault = NetworkFault(LinkFault.DISCONNECT, _ends(sources), _ends(targets))
        return self._add_link_fault("disconnect", fault, for_us)

    def partition(self, one: Ends, other: Ends, *, for_us: Micros | None = None) -> NetworkFault:
        """Drop all messages between two sides, in both directions."""
        fault = NetworkFault(LinkFault.DISCONNECT, _ends(one), _ends(other), two_way=True)
        return self._add_link_fault("partition", fault, for_us)

    def isolate(
        self, node: NodeId, *, from_: Ends | None = None, for_us: Micros | None = None
    ) -> NetworkFault:
        """Partition a broker from the other brokers and the store, but not from the clients."""
        others = [n for n, m in self.engine.machines.items() if m.group == BROKERS and n != node]
        other_side = _ends(from_ or (*others, STORE))
        return self._add_link_fault(
            "isolate", NetworkFault(LinkFault.DISCONNECT, (node,), other_side, two_way=True), for_us
        )

    def clog(
        self, sources: Ends, targets: Ends, *, two_way: bool = False, for_us: Micros | None = None
    ) -> NetworkFault:
        """Hold all messages, and deliver them together when the fault ends."""
        fault = NetworkFault(LinkFault.CLOG, _ends(sources), _ends(targets), two_way)
        return self._add_link_fault("clog", fault, for_us)

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
        """Add a fixed delay, limit the bytes per second, or both."""
        check_micros("delay_us", delay_us)
        fault = NetworkFault(
            LinkFault.SLOW, _ends(sources), _ends(targets), two_way, delay_us, bytes_per_s
        )
        details = (("delay_us", delay_us), ("bytes_per_s", bytes_per_s))
        return self._add_link_fault("slow_link", fault, for_us, details)

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
        """Drop or duplicate messages at random."""
        ends = _ends(sources), _ends(targets)
        fault = NetworkFault(LinkFault.DISTURB, *ends, two_way, loss=loss, duplicate=duplicate)
        details = (
            ("loss", f"{loss[0]}/{loss[1]}"),
            ("duplicate", f"{duplicate[0]}/{duplicate[1]}"),
        )
        return self._add_link_fault("disturb", fault, for_us, details)

    def reset(self, one: str, other: str) -> None:
        """Reset the connection of two brokers: both get PeerLost, messages in flight are lost."""
        self._record("reset", f"{one}|{other}", None)
        self.engine.network.reset(one, other)
        for node, peer in ((one, other), (other, one)):
            self._machine(node).deliver_peer_lost(peer)

    def heal(self, fault: NetworkFault | None = None) -> None:
        """End one network fault, or all of them."""
        ended = [f for f in self.engine.network.faults() if fault is None or f is fault]
        for each in ended:
            self._end_link_fault(each)

    # Store and disks.

    def store_outage(self, *, for_us: Micros | None = None) -> None:
        """Make the metadata store unreachable."""
        self._record("store_outage", STORE, for_us)
        self.tell("the metadata store is unreachable")
        self.engine.store.down = True
        self._after(for_us, self.end_store_outage)

    def end_store_outage(self) -> None:
        """Make the metadata store reachable again."""
        if self.engine.store.down:
            self.engine.store.down = False
            self._record("store_back", STORE, None)
            self.tell("the metadata store is reachable again")

    def lose_store_requests(self, node: NodeId, count: int = 1, *, calls: str = ANY) -> None:
        """Drop the next store calls of a node. ``calls``: ``any``, or ``cas`` for writes only."""
        self._record("lose_request", node, None, (("count", count), ("calls", calls)))
        self.engine.store.lose_requests(node, count, calls)

    def lose_store_replies(self, node: NodeId, count: int = 1, *, calls: str = ANY) -> None:
        """Execute the next store calls of a node and drop the replies."""
        self._record("lose_reply", node, None, (("count", count), ("calls", calls)))
        self.engine.store.lose_replies(node, count, calls)

    def lose_store_writes(self, count: int = 1) -> None:
        """Lose the last confirmed changes of the partition state, as in a failover of the store.

        The store must not do this (F80): brokers that have seen a lost change halt. Raise
        ValueError if the store has had fewer changes.
        """
        changes = len(self.engine.store.executor.history)
        if not 1 <= count <= changes:
            raise ValueError(f"count must be between 1 and {changes}, got {count}")
        self._record("lose_writes", STORE, 0, (("count", count),))
        self.tell(f"the metadata store loses its last {count} changes of the partition state")
        self.engine.store.lose_writes(count)

    def stall_disk(self, node: NodeId, *, for_us: Micros) -> None:
        """Complete no disk operation of a node for this duration."""
        self._record("stall_disk", node, for_us)
        self.tell(f"the disk of {node} stalls")
        self._machine(node).disk.stall(for_us)

    def fill_disk(self, node: NodeId, *, for_us: Micros | None = None) -> None:
        """Make the appends of a node fail with NoSpace."""
        disk = self._machine(node).disk
        self._record("fill_disk", node, for_us)
        self.tell(f"the disk of {node} is full")
        disk.full = True
        self._after(for_us, disk.clear_faults)

    def damage_disk(self, node: NodeId, records: int = 1) -> None:
        """Make the disk of a broker that is down lose its last flushed batches.

        The broker notices it at its next start, because the checksum of a flushed batch is wrong
        (F13). ``records``: number of batches. Raise ValueError if the broker runs, or if it has
        fewer batches.
        """
        disk = self._disk_of_down(node)
        found = len(disk.image.batches)
        if not 1 <= records <= found:
            raise ValueError(f"records must be between 1 and {found}, got {records}")
        self._record("damage_disk", node, 0, (("records", records),))
        disk.damage(records)
        self._on_damage(node)
        self.tell(f"the disk of {node} is damaged, log end {disk.image.leo}")

    def replace_disk(self, node: NodeId) -> None:
        """Give a broker that is down an empty disk. Raise ValueError if the broker runs."""
        disk = self._disk_of_down(node)
        self._record("replace_disk", node, 0)
        disk.replace()
        self._on_damage(node)
        self.tell(f"{node} gets an empty disk")

    def _disk_of_down(self, node: NodeId) -> SimDisk:
        machine = self._machine(node)
        if machine.up:
            raise ValueError(f"{node} runs; crash or stop it before its disk changes")
        return machine.disk

    def heal_everything(self) -> None:
        """End all faults (network, store, disks, pauses) and start the brokers that are down."""
        self.heal(None)
        self.end_store_outage()
        self.engine.store.clear_faults()
        for node in self.engine.topology.brokers:
            machine = self._machine(node)
            machine.disk.clear_faults()
            machine.cancel_crash()
            self.resume(node)
            self.restart(node)
            if machine.stopping:
                self._restart_after_exit[node] = 0

    def _on_crashed(self, node: NodeId, unflushed: int, for_us: Micros | None) -> None:
        left = f", {unflushed} unflushed batches" if unflushed else ""
        self.tell(f"{node} crashed{left}")
        if unflushed:
            self.situations.reach(Situation.UNFLUSHED_CRASH)
        if self.engine.topology.peer_lost:
            for other, machine in self.engine.machines.items():
                if machine.group == BROKERS and other != node:
                    self.engine.clock.after(1_000, partial(machine.deliver_peer_lost, node))
        self._after(
            for_us, partial(self._restart_if_still_down, node, self._machine(node).starts)
        )

    def _restart_if_still_down(self, node: NodeId, starts: int) -> None:
        """Restart the node, unless it was restarted in the meantime."""
        if self._machine(node).starts == starts:
            self.restart(node)

    def _add_link_fault(
        self, kind: str, fault: NetworkFault, for_us: Micros | None, details: Details = ()
    ) -> NetworkFault:
        target = _target(fault)
        self._record(kind, target, for_us, details)
        self.tell(f"{kind.replace('_', ' ')} {target}")
        self.engine.network.add(fault)
        self._after(for_us, partial(self._end_link_fault, fault))
        return fault

    def _end_link_fault(self, fault: NetworkFault) -> None:
        if self.engine.network.remove(fault):
            target = _target(fault)
            self._record("heal", target, None)
            self.tell(f"healed: {target}")

    def _record(self, kind: str, target: str, for_us: Micros | None, details: Details = ()) -> None:
        _check_duration(for_us)
        self._on_fault(Fault(self.engine.clock.now(), kind, target, for_us, details))

    def _after(self, for_us: Micros | None, action: Callable[[], None]) -> None:
        if for_us is not None:
            self.engine.clock.after(for_us, action)


def _check_duration(for_us: Micros | None) -> None:
    if for_us is not None:
        check_micros("for_us", for_us)


def _ends(ends: Ends) -> tuple[str, ...]:
    return (ends,) if isinstance(ends, str) else tuple(ends)


def _target(fault: NetworkFault) -> str:
    sign = "|" if fault.two_way else ">"
    return f"{','.join(fault.sources)}{sign}{','.join(fault.targets)}"
