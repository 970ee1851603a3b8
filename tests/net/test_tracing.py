"""A broker's own trace: the common format, a size limit, and no effect on the broker.

Method: steps of a simulated broker, recorded as in its own process.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.core.trace_edits import alone, short_run
from tests.scenarios.scenario_runs import run
from tests.tidy.tree import ROOT
from yak_core.contract.events import PeerLost, TimerFired
from yak_core.trace.reader import decode_trace, digest_of_file, encode_trace
from yak_core.trace.recorder import Header, Step, Trace
from yak_core.trace.replay import TraceReplay, replay_lines
from yak_core.trace.version import digest_in
from yak_core.trace.writer import TraceLines
from yak_net.runtime.tracing import BUFFER_BYTES, FileRecorder, net_header
from yak_sim.run.replay import own_digest

HEADER = Header("net", "", 0, "0.1.0+core.0123456789abcdef")


@cache
def steps() -> tuple[Step, ...]:
    """Return the steps of a broker, more than two checkpoints."""
    found = tuple(alone(run("slow_follower", 7).trace, "n1"))
    assert len(found) > 2_000
    return found


def recorded(recorder: FileRecorder, some: Iterator[Step] | tuple[Step, ...]) -> None:
    """Record steps as a host does."""
    for step in some:
        assert recorder.record(*step[1:7]) == step.i


def replayed(path: Path) -> TraceReplay:
    """Return the replay of a file."""
    with path.open("rb") as lines:
        return replay_lines(lines)


def test_streaming_writes_what_the_whole_trace_gives(tmp_path: Path) -> None:
    """Goal: one format. Method: the same steps through a file and through a trace in memory."""
    trace = Trace(HEADER)
    for step in steps():
        trace.record(*step[1:7])
    recorder = FileRecorder(tmp_path / "n1.jsonl", HEADER)
    recorded(recorder, steps())
    assert recorder.end_reason == ""
    assert recorder.steps == len(steps())
    recorder.close()
    assert recorder.path.read_bytes() == b"".join(encode_trace(trace))
    assert str(recorder.path) in recorder.end_reason
    assert f" {len(steps())} steps" in recorder.end_reason
    assert replayed(recorder.path).identical
    size = recorder.path.stat().st_size
    recorder.close()
    assert recorder.path.stat().st_size == size, "closing twice is nothing"


def test_the_header_names_the_core_that_recorded(tmp_path: Path) -> None:
    """Goal: a replay knows whether the code is the same. Method: the digest in both worlds."""
    header = net_header()
    assert header.world == "net"
    package, _, digest = header.version.partition("+core.")
    assert package
    assert len(digest) == 16
    assert digest_in(header.version) == own_digest()
    recorder = FileRecorder(tmp_path / "n1.jsonl")
    recorder.close()
    found = replayed(recorder.path)
    assert (found.header, found.steps, found.identical) == (header, 0, True)


def test_an_existing_name_gets_a_number(tmp_path: Path) -> None:
    """Goal: one file for each start, none overwritten. Method: three starts with one name."""
    paths = []
    for _ in range(3):
        recorder = FileRecorder(tmp_path / "n1.jsonl", HEADER)
        recorded(recorder, steps()[:5])
        recorder.close()
        paths.append(recorder.path)
    assert [path.name for path in paths] == ["n1.jsonl", "n1.2.jsonl", "n1.3.jsonl"]
    assert [replayed(path).steps for path in paths] == [5, 5, 5]
    with pytest.raises(FileNotFoundError):
        FileRecorder(tmp_path / "no folder" / "n1.jsonl", HEADER)


def test_a_flush_writes_whole_lines(
    tmp_path: Path,
) -> None:
    """Goal: few writes, and a readable file at any time. Method: read after each step."""
    recorder = FileRecorder(tmp_path / "n1.jsonl", HEADER)
    first = recorder.path.read_bytes()
    assert first == TraceLines(HEADER).first
    recorded(recorder, steps()[:3])
    assert recorder.path.read_bytes() == first
    recorder.flush()
    found = replayed(recorder.path)
    assert (found.steps, found.incomplete, found.identical) == (3, True, True)
    sizes = []
    for step in steps()[3:]:
        recorder.record(*step[1:7])
        sizes.append(recorder.path.stat().st_size)
    grown = [after - before for before, after in pairwise(sizes) if after > before]
    assert len(grown) > 5
    assert min(grown) >= BUFFER_BYTES
    recorder.close()


@pytest.mark.parametrize("bytes_max", [1_000, 20_000, 100_000, 400_000, 700_000])
def test_recording_ends_at_its_limit(tmp_path: Path, bytes_max: int) -> None:
    """Goal: never more bytes than the limit, and a complete trace. Method: several limits."""
    recorder = FileRecorder(tmp_path / "n1.jsonl", HEADER, bytes_max)
    recorded(recorder, steps())
    kept = recorder.steps
    assert str(recorder.path) in recorder.end_reason
    assert f" {kept} steps" in recorder.end_reason
    assert f"{bytes_max} bytes" in recorder.end_reason
    assert recorder.dropped == len(steps()) - kept
    recorder.close()
    assert recorder.path.stat().st_size <= bytes_max
    found = replayed(recorder.path)
    assert (found.steps, found.dropped) == (kept, len(steps()) - kept)
    assert found.identical
    assert not found.incomplete
    with recorder.path.open("rb") as lines:
        assert len(digest_of_file(lines)) == 32


def test_the_largest_trace_that_fits_is_kept_whole(tmp_path: Path) -> None:
    """Goal: the limit is exact. Method: a limit just above the size."""
    recorder = FileRecorder(tmp_path / "whole.jsonl", HEADER)
    recorded(recorder, steps())
    recorder.close()
    size = recorder.path.stat().st_size
    again = FileRecorder(tmp_path / "again.jsonl", HEADER, size + 512)
    recorded(again, steps())
    again.close()
    assert again.dropped == 0
    assert again.path.read_bytes() == recorder.path.read_bytes()
    with pytest.raises(ValueError, match=r"bytes_max .* got 256"):
        FileRecorder(tmp_path / "n1.jsonl", HEADER, 256)
    assert not (tmp_path / "n1.jsonl").exists()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Limit the size of files of this process during the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_write_ends_only_the_recording(tmp_path: Path) -> None:
    """Goal: the broker keeps running. Method: the system refuses a write inside a line."""
    recorder = FileRecorder(tmp_path / "n1.jsonl", HEADER)
    with file_size_limit(100_000):
        recorded(recorder, steps())
        assert str(recorder.path) in recorder.end_reason
        assert os.strerror(errno.EFBIG) in recorder.end_reason
        assert recorder.record(*steps()[0][1:7]) == len(steps()), "steps are still counted"
        recorder.flush()
        recorder.close()
    assert recorder.path.stat().st_size == 100_000
    found = replayed(recorder.path)
    assert found.incomplete
    assert found.identical
    assert found.steps > 100


def test_unencodable_step_ends_only_the_recording(tmp_path: Path) -> None:
    """Goal: nor does a broken step harm the broker. Method: an event where an effect belongs."""
    recorder = FileRecorder(tmp_path / "n1.jsonl", HEADER)
    assert recorder.record(0, "n1", 1, TimerFired("a"), [], -1) == 0
    broken = [PeerLost("n2")]
    assert recorder.record(1, "n1", 1, TimerFired("a"), broken, 0) == 1  # type: ignore[arg-type]
    assert recorder.record(2, "n1", 1, TimerFired("a"), [], 1) == 2
    assert str(recorder.path) in recorder.end_reason
    assert " 1 step" in recorder.end_reason
    recorder.close()
    with recorder.path.open("rb") as lines:
        trace = decode_trace(lines)
    assert (len(trace), trace.dropped) == (1, 2)


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.net.test_tracing import HEADER, short_steps
from yak_net.runtime.tracing import FileRecorder
recorder = FileRecorder(Path(sys.argv[1]), HEADER)
for step in short_steps():
    recorder.record(*step[1:7])
    if step.i == 19:
        recorder.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def short_steps() -> tuple[Step, ...]:
    """Return the steps of a broker in the short run."""
    return tuple(alone(short_run(), "n1"))


def test_the_trace_of_a_killed_process_replays(tmp_path: Path) -> None:
    """Goal: kill -9 leaves a readable file. Method: a process kills itself; then a torn line."""
    path = tmp_path / "n1.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = replayed(path)
    assert (found.steps, found.incomplete, found.identical) == (20, True, True)
    path.write_bytes(path.read_bytes()[:-30])
    torn = replayed(path)
    assert (torn.steps, torn.incomplete, torn.identical) == (19, True, True)


def test_a_trace_of_one_node_needs_no_more_than_a_count() -> None:
    """Goal: correct clocks without state. Method: lines of two steps, and of another node."""
    lines = TraceLines(HEADER)
    clocks = [
        json.loads(lines.step(at, "n1", 1, TimerFired("a"), [], at - 1))["vc"] for at in range(3)
    ]
    assert clocks == [{"n1": 1}, {"n1": 2}, {"n1": 3}]
    with pytest.raises(AssertionError, match="node"):
        lines.step(4, "n2", 1, TimerFired("a"), [], -1)
