"""What given processes cost, from /proc: CPU seconds and memory; must never signal any of them.

Linux only. The CPU seconds of a process are those of all its threads, and not those of its
children. A process that is gone counts as nothing from then on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

PROC: Final = Path("/proc")
PEAK: Final = "VmHWM:"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Place of a process's user time among the words behind its name; system time follows."""
_BUSY: Final = (0, 1, 2, 5, 6)
"""Of the machine's times: user, nice, system, irq and softirq; not idle, iowait, steal."""


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes so far, of all together."""
    ticks = 0
    for pid in pids:
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name stands in parentheses and may hold anything, spaces and parentheses as well.
        words = text.rpartition(")")[2].split()
        ticks += int(words[_UTIME]) + int(words[_UTIME + 1])
    return ticks / _TICKS_PER_S


def machine_s() -> float:
    """CPU seconds that the whole machine has been busy so far."""
    with (PROC / "stat").open() as file:
        words = file.readline().split()[1:]
    return sum(int(words[place]) for place in _BUSY) / _TICKS_PER_S


def peak_bytes(pid: int) -> int | None:
    """The largest resident memory that a process has ever had, None if it is gone."""
    try:
        text = (PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in text.splitlines():
        if line.startswith(PEAK):
            return int(line.split()[1]) * 1024
    return None  # It has ended, and nobody has waited for it yet.


def peaks(pids: Iterable[int]) -> list[int]:
    """The peaks of those that are there, the largest last."""
    return sorted(peak for peak in map(peak_bytes, pids) if peak is not None)


@dataclass(frozen=True, slots=True)
class Cost:
    """What passed between two moments: ``others`` in cores, on average, the rest in seconds."""

    wall_s: float
    servers_s: float
    client_s: float
    others: float

    @property
    def cpu_s(self) -> float:
        """CPU seconds of everything that was measured."""
        return self.servers_s + self.client_s


class Meter:
    """Runs from its making to :meth:`stop`; this process is the client, ``pids`` the servers."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._servers_s = cpu_s(self._pids)
        self._machine_s = machine_s()
        self._client_s = time.process_time()
        self._began = time.perf_counter()

    def stop(self) -> Cost:
        """What it came to."""
        wall_s = max(time.perf_counter() - self._began, 1e-9)
        client_s = time.process_time() - self._client_s
        servers_s = cpu_s(self._pids) - self._servers_s
        others_s = machine_s() - self._machine_s - client_s - servers_s
        return Cost(wall_s, servers_s, client_s, max(0.0, others_s / wall_s))


@dataclass(frozen=True, slots=True)
class Flow:
    """So many records of so many bytes each, and what they cost."""

    records: int
    record_bytes: int
    cost: Cost

    @property
    def records_per_s(self) -> float:
        """Records per second of wall time."""
        return self.records / self.cost.wall_s

    @property
    def mb_per_s(self) -> float:
        """Millions of bytes of values per second of wall time."""
        return self.records * self.record_bytes / self.cost.wall_s / 1e6

    @property
    def records_per_cpu_s(self) -> float:
        """Records per CPU second of servers and client together."""
        return self.records / max(self.cost.cpu_s, 1 / _TICKS_PER_S)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from a record's sending to its confirmation, each alone under way."""

    seconds: tuple[float, ...]
    cost: Cost

    @property
    def p50_us(self) -> float:
        """The median, in microseconds."""
        return median(self.seconds) * 1e6

    @property
    def p99_us(self) -> float:
        """What one in a hundred exceeds, in microseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6
