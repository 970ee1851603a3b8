"""The folder of a run: complete, repeatable, with errors for files that cannot be written.

Method: made-up results; limits of file size and obstructed paths.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.sim.plot_samples import Tale, failover
from yak_core.contract.events import PeerLost, TimerFired
from yak_core.trace.reader import TraceError, digest_of
from yak_sim import RunResult, Script, World, run_scenario, scenario, seconds
from yak_sim.run import run_folder as runfolder
from yak_sim.run.run_folder import (
    FILES,
    OutputError,
    digest_of_path,
    read_history,
    read_trace,
    read_verdict,
    write_run,
)
from yak_sim.world.history import History

ROOT = Path(__file__).parents[2]
COMMAND = ["yak", "sim", "run", "made_up", "--seed", "7", "--input", "two words.txt"]


def one_row() -> History:
    """Return a history of one row."""
    history = History()
    history.invoke(5, "p1", 0, "send", ("é".encode(),))
    return history


def tiny(world: World) -> Script:
    """A scenario that lasts a millisecond."""
    yield world.sleep(seconds(0.001))
    world.expect.that("Order is kept", True, expected="", happened="")


@cache
def tiny_run() -> RunResult:
    """Run it, with a made-up trace and history."""
    result = run_scenario(scenario()(tiny))
    return replace(result, scenario="made_up", trace=Tale(1).trace(), history=one_row())


def run_with(**changes: Any) -> RunResult:
    """Return a valid run with ``changes``."""
    return replace(tiny_run(), **changes)


def names_in(folder: Path) -> list[str]:
    """Return the sorted names in a folder, with hidden files."""
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_all_files_and_they_fit_together(tmp_path: Path) -> None:
    """Method: write a folder and read all files."""
    result = run_with(trace=failover(), valid="unknown", reason="It never ended.")
    folder = write_run(result, tmp_path / "out", COMMAND)
    assert folder == tmp_path / "out" / "made_up" / "7"
    assert names_in(folder) == sorted(FILES)
    digest = digest_of(result.trace)
    assert digest_of_path(folder / "trace.jsonl") == digest_of_path(folder) == digest
    assert digest_of(read_trace(folder)) == digest
    verdict = read_verdict(folder)
    assert verdict["digest"] == digest
    assert verdict["valid"] == "unknown"
    assert verdict["reason"] == "It never ended."
    expectation = {"sentence": "Order is kept", "held": True, "expected": "", "happened": ""}
    assert verdict["expectations"] == [expectation]
    assert [row["value"] for row in read_history(folder)] == [["é"]]
    assert (folder / "replay.txt").read_text(encoding="utf-8").splitlines() == [
        "yak sim run made_up --seed 7 --input 'two words.txt'",
        f"# digest: {digest}",
        "# valid: unknown",
    ]
    assert (folder / "watermarks.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "watermarks.svg").read_text(encoding="utf-8")


def test_latest_links_to_the_last_run(tmp_path: Path) -> None:
    """Method: two seeds."""
    for seed in (7, 8):
        folder = write_run(run_with(seed=seed), tmp_path, COMMAND)
        link = tmp_path / "made_up" / "latest"
        assert link.is_symlink()
        assert link.readlink() == Path(str(seed))
        assert link.resolve() == folder.resolve()
    assert names_in(tmp_path / "made_up") == ["7", "8", "latest"]


def test_a_failed_link_is_noted_and_the_run_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Method: a folder in place of the link."""
    (tmp_path / "made_up" / "latest").mkdir(parents=True)
    (tmp_path / "made_up" / "latest" / "mine").write_text("keep")
    folder = write_run(run_with(), tmp_path, COMMAND)
    assert names_in(folder) == sorted(FILES)
    [note] = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "made_up" / "latest") in note
    assert str(folder) in note
    assert names_in(tmp_path / "made_up") == ["7", "latest"]
    assert names_in(tmp_path / "made_up" / "latest") == ["mine"]


def test_a_file_in_place_of_the_output_folder_is_refused(tmp_path: Path) -> None:
    """Goal: one line with the path."""
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        write_run(run_with(), tmp_path / "out", COMMAND)
    sentence = str(caught.value)
    assert str(tmp_path / "out" / "made_up" / "7") in sentence
    assert "\n" not in sentence
    assert (tmp_path / "out").read_text() == "in the way"


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", ".hidden"])
def test_an_invalid_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    """Goal: no file outside the folder. Method: names with dots and slashes."""
    with pytest.raises(OutputError, match=f"{re.escape(repr(name))}.*name"):
        write_run(run_with(scenario=name), tmp_path / "out", COMMAND)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    """Goal: partial output survives. Method: a process with a file size limit of 20 kB."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.sim.test_runfolder import COMMAND, run_with\n"
        "from tests.sim.plot_samples import failover\n"
        "from yak_sim.run.run_folder import OutputError, write_run\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    write_run(run_with(trace=failover()), Path(sys.argv[1]), COMMAND)\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = tmp_path / "made_up" / "7"
    assert re.fullmatch(f".*{folder}.*{os.strerror(errno.EFBIG)}.*\n", done.stdout)
    assert names_in(folder) == ["trace.jsonl.part"]
    part = (folder / "trace.jsonl.part").read_bytes()
    assert len(part) == 20_000
    with pytest.raises(TraceError):
        read_trace(folder / "trace.jsonl.part")
    steps = part.count(b'\n{"i":') - (not part.endswith(b"\n"))
    assert len(read_trace(folder / "trace.jsonl.part", incomplete=True)) == steps


def test_an_invalid_effect_fails_only_the_trace(tmp_path: Path) -> None:
    """Goal: all other files are written. Method: an event among the effects."""
    trace = Tale(1).trace()
    trace.record(9_000_000, "n1", 2, TimerFired("x"), [PeerLost("n2")], -1)  # type: ignore[list-item]
    with pytest.raises(OutputError) as caught:
        write_run(run_with(trace=trace), tmp_path, COMMAND)
    folder = tmp_path / "made_up" / "7"
    assert re.search(f"trace: step.*{folder}", str(caught.value))
    expected = sorted({*FILES} - {"trace.jsonl"} | {"trace.jsonl.part"})
    assert names_in(folder) == expected
    assert read_verdict(folder)["digest"] is None
    assert len(read_trace(folder / "trace.jsonl.part", incomplete=True)) == len(trace) - 1
    assert (tmp_path / "made_up" / "latest").is_symlink()


def test_no_file_of_an_earlier_run_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a plot belongs to its trace. Method: a second run whose plot fails."""
    folder = write_run(run_with(), tmp_path, COMMAND)
    (folder / "trace.jsonl.part").write_text("old")
    (folder / "notes.txt").write_text("mine")
    monkeypatch.setitem(sys.modules, "yak_sim.plot.watermarks", None)
    with pytest.raises(OutputError, match=f"plots.*{folder}"):
        write_run(run_with(), tmp_path, COMMAND)
    left = sorted({*FILES, "notes.txt"} - {"watermarks.png", "watermarks.svg"})
    assert names_in(folder) == left


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Goal: no partial file under the final name. Method: look between chunks, then interrupt."""
    path = tmp_path / "file"
    path.write_text("old")

    def chunks() -> Iterator[bytes]:
        yield b"first"
        assert path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runfolder._write(path, chunks())
    assert names_in(tmp_path) == ["file", "file.part"]
    assert path.read_text() == "old"
    assert (tmp_path / "file.part").read_bytes() == b"first"
    assert runfolder._write(path, [b"one", b"two"]) == b"two"
    assert path.read_bytes() == b"onetwo"
