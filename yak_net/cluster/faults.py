"""Faults that a supervisor injects, in the words of the simulator's plans (docs/formats.md).

Faults on links are applied by the link gate of each broker (:mod:`yak_net.broker.link_gate`). They
do not need any privilege, and concern replication and the metadata store; clients reach every
broker. A fault stays until it is healed, also when a broker is started again.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from yak_net.cluster.errors import ClusterError, InvalidFault, UnknownNode
from yak_net.cluster.status import State
from yak_net.storage.folder import open_folder, read_identity
from yak_net.storage.system import StorageError

if TYPE_CHECKING:
    from yak_net.cluster.supervisor import Supervisor

STORE: Final = "store"
LEADER: Final = "leader"
BROKERS: Final = "brokers"


class FaultKind(StrEnum):
    """The kinds of faults on links, as in a plan of the simulator."""

    DISCONNECT = "disconnect"
    """All messages in one direction are dropped."""
    PARTITION = "partition"
    """All messages in both directions are dropped."""
    SLOW_LINK = "slow_link"
    """Messages are delayed, limited in their rate, or both."""


@dataclass(frozen=True)
class LinkFault:
    """A fault on the links from ``sources`` to ``targets``, and back if ``two_way``."""

    kind: FaultKind
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    two_way: bool
    delay_us: int = 0
    bytes_per_s: int = 0

    @property
    def target(self) -> str:
        """The target in a plan, such as ``n1|n2,store`` or ``n1>n2``."""
        sign = "|" if self.two_way else ">"
        return f"{','.join(self.sources)}{sign}{','.join(self.targets)}"

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield (source, target) of each direction of a link."""
        for one in self.sources:
            for other in self.targets:
                if one != other:
                    yield one, other
                    if self.two_way:
                        yield other, one


class Faults:
    """The faults of one running cluster."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.active: list[LinkFault] = []
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._healing: set[asyncio.Task[Any]] = set()

    async def disturb(
        self,
        one: str,
        other: str,
        *,
        two_way: bool,
        delay_us: int = 0,
        bytes_per_s: int = 0,
        for_us: int | None = None,
    ) -> dict[str, Any]:
        """Add a fault between two lists of names; it drops all messages unless it slows them.

        An empty ``other`` means all other brokers, and the store unless the fault only slows.
        Return the fault, and who has confirmed it. Raises UnknownNode, InvalidFault.
        """
        slows = delay_us > 0 or bytes_per_s > 0
        kind = FaultKind.SLOW_LINK if slows else FaultKind.PARTITION
        if not slows and not two_way:
            kind = FaultKind.DISCONNECT
        sources = await self._names(one)
        if other:
            targets = await self._names(other)
        else:
            nodes = self._supervisor.nodes
            rest = tuple(node for node in nodes if node not in sources) or nodes
            targets = rest if slows else (*rest, STORE)
        fault = LinkFault(kind, sources, targets, two_way, delay_us, bytes_per_s)
        if not any(True for _ in fault.links()):
            raise InvalidFault(
                f"{fault.target} has no link; give two different sides, such as n1 and n2,store"
            )
        self.active.append(fault)
        if for_us is not None:
            loop = asyncio.get_running_loop()
            self._timers[id(fault)] = loop.call_later(for_us / 1e6, self._heal_later, fault)
        return {"kind": kind, "target": fault.target, **await self._push()}

    async def heal(self, target: str) -> dict[str, Any]:
        """End the faults with this target, by default all. Raises InvalidFault if there is none."""
        ended = [fault for fault in self.active if target in ("", fault.target)]
        if target and not ended:
            known = ", ".join(fault.target for fault in self.active) or "none"
            raise InvalidFault(f"no fault has the target {target}; active faults: {known}")
        for fault in ended:
            self._remove(fault)
        return {"healed": [fault.target for fault in ended], **await self._push()}

    async def wipe(self, node: str) -> str:
        """Delete the data folder of a broker that is down; return its path.

        Raises UnknownNode, ClusterError if the broker runs or the folder cannot be deleted.
        """
        broker = self._supervisor.process_of(node)
        path = self._supervisor.spec.data / node
        async with broker.lock:
            if broker.state is not State.DOWN:
                raise ClusterError(
                    f"cannot wipe {node}: it runs; kill it with yak cluster kill {node}"
                )
            try:
                if path.exists():
                    folder = open_folder(path, read_identity(path).node)
                    try:
                        await asyncio.to_thread(shutil.rmtree, path)
                    finally:
                        folder.close()
            except StorageError as error:
                raise ClusterError(f"cannot wipe {node}: {error}") from error
            except OSError as error:
                raise ClusterError(f"cannot delete {error.filename}: {error.strerror}") from error
        return str(path)

    def close(self) -> None:
        """Cancel the timers of faults with a duration."""
        for timer in self._timers.values():
            timer.cancel()

    def _remove(self, fault: LinkFault) -> None:
        self.active = [each for each in self.active if each is not fault]
        timer = self._timers.pop(id(fault), None)
        if timer is not None:
            timer.cancel()

    def _heal_later(self, fault: LinkFault) -> None:
        self._remove(fault)
        task = asyncio.ensure_future(self._push())
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    async def _push(self) -> dict[str, list[str]]:
        """Send each broker the faults on its links; return who has confirmed them, and who not."""
        confirmed: list[str] = []
        later: list[str] = []
        nodes = self._supervisor.nodes
        processes = [self._supervisor.process_of(node) for node in nodes]
        done = await asyncio.gather(
            *(
                process.set_links(links_of(node, self.active))
                for node, process in zip(nodes, processes, strict=True)
            )
        )
        for node, process, applied in zip(nodes, processes, done, strict=True):
            if applied:
                confirmed.append(node)
            else:
                state = "runs" if process.state is State.RUNNING else process.state
                later.append(f"{node} ({state})")
        return {"confirmed": confirmed, "later": later}

    async def _names(self, text: str) -> tuple[str, ...]:
        """Return the names in a list, with the leader and the brokers in place of the words."""
        nodes = self._supervisor.nodes
        found: dict[str, None] = {}
        for name in filter(None, (part.strip() for part in text.split(","))):
            if name == LEADER:
                leader = (await self._supervisor.status()).leader
                if leader is None:
                    raise ClusterError("there is no leader; name a broker")
                found[leader] = None
            elif name == BROKERS:
                found |= dict.fromkeys(nodes)
            elif name in (*nodes, STORE):
                found[name] = None
            else:
                words = ", ".join((*nodes, STORE, LEADER, BROKERS))
                raise UnknownNode(f"no link end {name}; use {words} (clients reach every broker)")
        if not found:
            raise InvalidFault("a side of the fault is empty; give a broker, such as n1")
        return tuple(found)


def links_of(node: str, faults: Sequence[LinkFault]) -> list[dict[str, Any]]:
    """Return what the faults do to the links of ``node``, for its gate.

    Of several faults on a link the delays add up, and the lowest rate counts.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for fault in faults:
        for src, dst in fault.links():
            if node not in (src, dst):
                continue
            sound = {"src": src, "dst": dst, "drop": False, "delay_us": 0, "bytes_per_s": 0}
            link = found.setdefault((src, dst), sound)
            link["drop"] = link["drop"] or fault.kind is not FaultKind.SLOW_LINK
            link["delay_us"] += fault.delay_us
            rates = [rate for rate in (link["bytes_per_s"], fault.bytes_per_s) if rate]
            link["bytes_per_s"] = min(rates, default=0)
    return list(found.values())
