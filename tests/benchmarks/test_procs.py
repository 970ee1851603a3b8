"""CPU time and memory of processes, read from /proc."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

import pytest

from benchmarks.procs import Cost, Flow, Latencies, Meter, cpu_s, machine_s, peak_bytes, peaks

GONE = 2**22 + 1
"""Above the highest process id."""


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_cpu_seconds_are_those_that_the_process_has_used() -> None:
    before, machine_before = cpu_s([os.getpid()]), machine_s()
    burn(0.3)
    assert cpu_s([os.getpid(), GONE]) - before == pytest.approx(0.3, abs=0.15)
    assert machine_s() - machine_before >= 0.2


def test_name_of_a_process_may_look_like_numbers() -> None:
    code = "import sys; open('/proc/self/comm', 'w').write('a) 1 2 ('); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        assert 0 <= cpu_s([child.pid]) < 60
        assert peak_bytes(child.pid) is not None
    finally:
        child.communicate()
    assert cpu_s([child.pid]) == 0
    assert peak_bytes(child.pid) is None


def test_peak_memory_does_not_go_down_again() -> None:
    held = bytearray(64 << 20)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak_bytes(os.getpid()) == pytest.approx(largest, rel=0.02)
    del held
    after = peak_bytes(os.getpid())
    assert after is not None
    assert after >= 64 << 20
    assert peaks([GONE, os.getpid()]) == [pytest.approx(after, rel=0.02)]


def test_meter_tells_the_client_from_the_rest() -> None:
    meter = Meter(())
    burn(0.2)
    cost = meter.stop()
    assert cost.client_s == pytest.approx(0.2, abs=0.05)
    assert cost.servers_s == 0
    assert cost.wall_s >= cost.client_s - 0.01  # two clocks, read one after the other
    assert cost.other_cores >= 0


def test_rates_and_percentiles_are_what_they_say() -> None:
    flow = Flow(1000, 100, Cost(wall_s=2.0, servers_s=3.0, client_s=1.0, other_cores=0.0))
    assert (flow.records_per_s, flow.mb_per_s, flow.records_per_cpu_s) == (500, 0.05, 250)
    latencies = Latencies(tuple(n / 1e6 for n in range(200, 0, -1)), flow.cost)
    assert latencies.p50_us == pytest.approx(100.5)
    assert latencies.p99_us == pytest.approx(199)
