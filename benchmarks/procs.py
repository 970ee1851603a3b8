"""CPU seconds and memory of processes, read from /proc (Linux only).

The CPU seconds of a process include all its threads, but not its children. A process that has ended
counts as 0.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

PROC: Final = Path("/proc")
PEAK: Final = "VmHWM:"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Index of the user time among the fields after the process name; system time is next."""
_BUSY: Final = (0, 1, 2, 5, 6)
"""Indexes of user, nice, system, irq and softirq in the machine's times; no idle, iowait, steal."""


def cpu_s(pids: Iterable[int]) -> float:
    """Return the total CPU seconds of these processes."""
    ticks = 0
    for pid in pids:
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name is in parentheses, and may contain spaces and parentheses.
        fields = text.rpartition(")")[2].split()
        ticks += int(fields[_UTIME]) + int(fields[_UTIME + 1])
    return ticks / _TICKS_PER_S


def machine_s() -> float:
    """Return the busy CPU seconds of the whole machine."""
    with (PROC / "stat").open() as file:
        fields = file.readline().split()[1:]
    return sum(int(fields[index]) for index in _BUSY) / _TICKS_PER_S


def peak_bytes(pid: int) -> int | None:
    """Return the peak resident memory of a process in bytes, None if it has ended."""
    try:
        text = (PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in text.splitlines():
        if line.startswith(PEAK):
            return int(line.split()[1]) * 1024
    return None  # a zombie process has no such line


def peaks(pids: Iterable[int]) -> list[int]:
    """Return the peaks of the running processes, in ascending order."""
    return sorted(peak for peak in map(peak_bytes, pids) if peak is not None)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a measurement in seconds; ``other_cores`` is the average other load in cores."""

    wall_s: float
    servers_s: float
    client_s: float
    other_cores: float

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds of the servers and the client."""
        return self.servers_s + self.client_s


class Meter:
    """Measures from its construction to :meth:`stop`.

    This process is the client; ``pids`` are the servers.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._servers_s = cpu_s(self._pids)
        self._machine_s = machine_s()
        self._client_s = time.process_time()
        self._began = time.perf_counter()

    def stop(self) -> Cost:
        """Return the cost since the construction."""
        wall_s = max(time.perf_counter() - self._began, 1e-9)
        client_s = time.process_time() - self._client_s
        servers_s = cpu_s(self._pids) - self._servers_s
        other_s = machine_s() - self._machine_s - client_s - servers_s
        return Cost(wall_s, servers_s, client_s, max(0.0, other_s / wall_s))


@dataclass(frozen=True, slots=True)
class Flow:
    """A number of records of equal size, and their cost."""

    records: int
    record_bytes: int
    cost: Cost

    @property
    def records_per_s(self) -> float:
        """Return the records per second of wall time."""
        return self.records / self.cost.wall_s

    @property
    def mb_per_s(self) -> float:
        """Return the millions of bytes of values per second of wall time."""
        return self.records * self.record_bytes / self.cost.wall_s / 1e6

    @property
    def records_per_cpu_s(self) -> float:
        """Return the records per CPU second of servers and client."""
        return self.records / max(self.cost.cpu_s, 1 / _TICKS_PER_S)


async def longest_wait_s(
    send: Callable[[], Awaitable[object]], has_ended: Callable[[], bool]
) -> float:
    """Send records one by one, until one is acknowledged that was sent after the end of a server.

    Return the longest time in seconds without an acknowledgement, from the call on.
    """
    longest_s, last, ended = 0.0, time.perf_counter(), False
    while not ended:
        ended = has_ended()
        await send()
        now = time.perf_counter()
        longest_s, last = max(longest_s, now - last), now
    return longest_s


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from send to acknowledgement of each record, with one record in flight."""

    seconds: tuple[float, ...]
    cost: Cost

    @property
    def p50_us(self) -> float:
        """Return the median in microseconds."""
        return median(self.seconds) * 1e6

    @property
    def p99_us(self) -> float:
        """Return the 99th percentile in microseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6
