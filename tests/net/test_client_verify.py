"""``yak produce --count`` and ``yak consume --verify``: what is wrong in a log is named.

Method: records made by hand, one thing changed in each case; then a real broker.
"""

from __future__ import annotations

import json
import os
import pty
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.client_commands import first_offset, one_broker, running, send, yak
from yak_net.client import numbered
from yak_net.client.consumer import ConsumerRecord
from yak_net.client.verify import Fault, Verifier


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker that the tests of this file share."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


def record(offset: int, value: bytes | None = b"x", epoch: int = 1) -> ConsumerRecord:
    return ConsumerRecord(offset, 0, None, value, (), epoch)


def run_of(*numbers: int, total: int = 5, run: str = "r") -> list[ConsumerRecord]:
    """Return records of a run with these numbers, at the offsets from 0 on."""
    texts = [f"yak.{run}.{number}/{total}".encode() for number in numbers]
    return [record(offset, text) for offset, text in enumerate(texts)]


CASES: dict[str, tuple[list[ConsumerRecord], dict[Fault, int], bool | None]] = {
    "sound": (run_of(0, 1, 2, 3, 4), {}, True),
    "no end": (run_of(0, 1, 2), {}, None),
    "no beginning": (run_of(1, 2, 3, 4), {Fault.MISSING: 1}, False),
    "missing": (run_of(0, 1, 4), {Fault.MISSING: 2}, False),
    "doubled": (run_of(0, 1, 1, 2, 3, 4), {Fault.DOUBLED: 1}, False),
    "reordered": (run_of(0, 2, 1, 3, 4), {Fault.REORDERED: 1}, False),
    "all again": (run_of(0, 1, 2, 3, 4, 0), {Fault.DOUBLED: 1}, False),
    "gap": ([record(0), record(3)], {Fault.GAP: 2}, False),
    "same offset": ([record(0), record(0)], {Fault.BACK: 1}, False),
    "back": ([record(5), record(4)], {Fault.BACK: 1}, False),
    "lower epoch": ([record(0, epoch=3), record(1, epoch=2)], {Fault.EPOCH: 1}, False),
    "higher epoch": ([record(0, epoch=1), record(1, epoch=4)], {}, True),
    "nothing": ([], {}, True),
    "null": ([record(0, None)], {}, True),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_counted(name: str) -> None:
    """Goal: the faults and the verdict; method: a sequence of records for each."""
    records, faults, valid = CASES[name]
    notes: list[str] = []
    verifier = Verifier(notes.append, from_start=True)
    for each in records:
        verifier.see(each)
    found = {fault: count for fault, count in verifier.counts.items() if count}
    assert (found, verifier.valid) == (faults, valid)
    assert verifier.records == len(records)
    assert len(notes) >= len(faults)


def test_two_runs_are_told_apart() -> None:
    """Goal: runs of several producers may mix; method: take turns."""
    verifier = Verifier(pytest.fail, from_start=True)
    ones, others = run_of(0, 1, 2, total=3, run="a"), run_of(0, 1, 2, total=3, run="b")
    turns = [each for pair in zip(ones, others, strict=True) for each in pair]
    for offset, each in enumerate(turns):
        verifier.see(each._replace(offset=offset))
    assert verifier.valid is True
    assert {name: run.seen for name, run in verifier.runs.items()} == {"a": 3, "b": 3}


def test_a_start_in_the_middle_of_a_run_is_no_fault() -> None:
    """Goal: only what follows counts; method: begin at number 2, and see 1 later."""
    verifier = Verifier(lambda _: None, from_start=False)
    for offset, number in enumerate((2, 3, 1, 4)):
        verifier.see(record(offset, b"yak.r.%d/5" % number))
    assert {fault for fault, count in verifier.counts.items() if count} == {Fault.REORDERED}


@pytest.mark.parametrize("size", [0, 5, 17, 18, 100])
def test_values_are_recognised(size: int) -> None:
    """Goal: number, total and size; method: make values and parse them."""
    (made,) = numbered.values("a-b_1", 12, size)
    assert [numbered.parse(value) for value in made] == [("a-b_1", n, 12) for n in range(12)]
    assert all(len(value) >= size for value in made)
    assert len(made[0]) in (size, len(b"yak.a-b_1.0/12"))
    for other in (None, b"", b"yak.r.1", b"yak..1/2", b"yak.r.1/2y", b"yak.r.1/2 y"):
        assert numbered.parse(other) is None


def test_a_run_on_a_broker_is_verified(at: str) -> None:
    """Goal: produce --count, then a verdict; method: a sound run, then records that break it."""
    first = first_offset(yak("produce", "-b", at, "--count", "50", "--size", "40"))
    words = ("consume", "-b", at, "-o", str(first), "-e", "--verify", "--json")
    done = yak(*words)
    found = json.loads(done.stdout)
    assert (done.returncode, found["valid"], found["records"]) == (0, True, 50)
    assert [run["seen"] for run in found["runs"].values()] == [50]
    assert (found["first_offset"], found["last_offset"]) == (first, first + 49)

    send(at, b"yak.x.0/4", b"yak.x.1/4")
    done = yak(*words)
    assert (done.returncode, json.loads(done.stdout)["valid"]) == (3, "unknown")

    send(at, b"yak.x.3/4")
    done = yak(*words)
    assert (done.returncode, json.loads(done.stdout)["faults"]["missing"]) == (1, 1)
    text = yak(*words[:-1]).stdout.decode().splitlines()
    assert text[-1] == "valid: false"
    assert "missing: 1" in text


@pytest.mark.parametrize(
    "words",
    [
        ("produce", "--count", "2", "-m", "x"),
        ("produce", "--size", "9"),
        ("produce", "--run", "a", "--count"),
        ("produce", "--count", "1", "--run", "a b"),
        ("consume", "--verify", "-f", "%o"),
        ("consume", "--verify", "-K", ":"),
    ],
)
def test_options_that_exclude_each_other(words: tuple[str, ...]) -> None:
    """Goal: exit code 2 before anything is sent; method: no broker is needed."""
    done = yak(*words, "-b", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_terminal_shows_rate_and_remaining_time(at: str) -> None:
    """Goal: a bar for a known total, on standard error only; method: a slow run on a terminal."""
    keyboard, screen = pty.openpty()
    try:
        words = ("produce", "-b", at, "--count", "10000", "--rate", "100")
        with running(*words, stderr=screen) as process:
            shown = b""
            while not (b"records/s" in shown and b"ETA" in shown and b"%" in shown):
                assert select.select([keyboard], [], [], 30)[0], shown
                shown += os.read(keyboard, 4096)
            process.send_signal(2)
            assert process.wait() == 130
            assert process.stdout.read() == b""
    finally:
        os.close(keyboard)
        os.close(screen)


def test_progress_of_a_file_is_in_bytes(tmp_path: Path) -> None:
    """Goal: the size of a file is known; method: the amounts of a run that has not started."""
    from yak_net.client.cli_produce import _size_of

    path = tmp_path / "lines"
    path.write_bytes(b"a\nb\n")
    fd = os.open(path, os.O_RDONLY)
    reading, writing = os.pipe()
    try:
        assert _size_of(fd) == 4
        os.read(fd, 1)
        assert _size_of(fd) == 3
        assert _size_of(reading) is None
    finally:
        for each in (fd, reading, writing):
            os.close(each)
