"""The real half of ``yak demo``: real processes, one of them killed; every line is read once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.core.trace_edits import edited
from tests.require import no_network
from tests.tidy.test_readme import DEMO, shown_output
from yak_cli import main
from yak_sim.demo import lines_of
from yak_sim.run.catalog import Catalog

FOLDER = Path("out/real_failover")
MARK = "YAK_TEST_MARK"
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def processes_with(mark: str) -> list[int]:
    """Return the processes whose environment has this mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                is_dead = "\nState:\tZ" in (entry / "status").read_text()
            except OSError:
                continue
            if f"{MARK}={mark}".encode() in environment.split(b"\0") and not is_dead:
                found.append(int(entry.name))
    return found


def start_demo(*words: str) -> tuple[subprocess.Popen[str], str]:
    """Start the demo as a process; return it with the mark of all its descendants."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", "yak_cli", "demo", *words],
        env={**os.environ, MARK: mark, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return (process, mark)


def real(content: bytes, *words: str) -> Result:
    """Run the real half in this process with these bytes as input."""
    Path("input").write_bytes(content)
    return CliRunner().invoke(main, ["demo", "--only", "real", "--input", "input", *words])


def with_an_altered_effect(trace: bytes) -> bytes:
    """Return the trace with one timer a microsecond later and valid checksums."""
    lines = trace.splitlines(keepends=True)
    chosen = [json.loads(line)["i"] for line in lines if b'{"SetTimer":' in line]

    def alter(step: dict[str, Any]) -> None:
        timer = next(effect["SetTimer"] for effect in step["fx"] if "SetTimer" in effect)
        timer["hi_us"] += 1

    return b"".join(edited(lines, chosen[len(chosen) // 2], alter))


def kinds_of_lines(text: str) -> set[str]:
    """Return the lines with all numbers replaced; their order depends on the killed broker."""
    numbers = re.compile(r"\d+(\.\d+)?( records?\b)?")
    return {numbers.sub("#", line) for line in text.splitlines()}


def test_both_halves_are_valid_and_leave_no_process() -> None:
    """A leader is killed under load, all traces replay, and the output is that of docs/demo.md."""
    process, mark = start_demo()
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    assert processes_with(mark) == []
    count = len(lines_of(Catalog(), None, None))
    assert len(re.findall(rf"equal: {count} .*\b{count} ", output)) == 2
    killed = re.search(r"SIGKILL to (n\d), pid \d+: (\d+) records? \w+, (\d+) in flight", output)
    assert killed, output
    assert int(killed[2]) >= 1
    assert int(killed[3]) >= 1
    led = re.findall(r"epoch (\d+): leader (n\d), offsets (\d+) to (\d+)", output)
    assert led[0][1] == killed[1]
    assert led[-1][1] != killed[1]
    assert (led[0][2], led[-1][3]) == ("0", str(count - 1))
    assert output.count("effects identical") == 4
    assert re.search("proved: No process is left", output)
    assert output.splitlines()[-1] == "valid: true"
    simulated = shown_output(DEMO, "demo-output")
    assert output.startswith(simulated)
    rest = output.removeprefix(simulated)
    assert kinds_of_lines(rest) == kinds_of_lines(shown_output(DEMO, "demo-real-output"))

    [trace] = FOLDER.glob(f"{killed[1]}.jsonl")
    altered = Path("altered.jsonl")
    altered.write_bytes(with_an_altered_effect(trace.read_bytes()))
    ran = CliRunner().invoke(main, ["sim", "replay", str(trace)])
    assert ran.exit_code == 0, ran.output
    ran = CliRunner().invoke(main, ["sim", "replay", str(altered)])
    assert ran.exit_code == 1
    assert "SetTimer" in ran.output


@pytest.mark.long
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x00\n\xff\xfe\n\n\r\n", id="odd bytes"),
        pytest.param(b"a", id="one line"),
        pytest.param(b"\n", id="one empty line"),
        pytest.param(b"same\n" * 40, id="equal lines"),
        pytest.param(b"x" * 900_000 + b"\nshort\n", id="a long line"),
    ],
)
def test_any_lines_are_read(content: bytes) -> None:
    """Goal: the bytes between newlines are the records of a real cluster, too."""
    ran = real(content)
    assert ran.exit_code == 0, ran.output
    count = content.count(b"\n") + (not content.endswith(b"\n"))
    sent = "1 line sent" if count == 1 else f"{count} lines sent"
    assert f"equal: {sent}, " in ran.stdout


@pytest.mark.long
def test_ten_thousand_lines_are_read() -> None:
    """Goal: all records of a large input."""
    ran = real(b"".join(b"line %d\n" % number for number in range(10_000)))
    assert ran.exit_code == 0, ran.output
    assert re.search("equal: 10000 .* 10000 ", ran.stdout)


@pytest.mark.long
def test_tampered_record_fails_the_demo() -> None:
    """Goal: the comparison can fail."""
    ran = real(b"".join(b"line %d\n" % number for number in range(41)), "--tamper", "lost")
    assert ran.exit_code == 1
    assert re.search(r"FAILED: .*b'line 21'.* line 21\b.*b'line 20'", ran.stdout), ran.output
    assert ran.stdout.splitlines()[-1] == "valid: false"


def test_folder_that_cannot_be_written_is_refused() -> None:
    """Goal: exit code 2 and a message before any start."""
    Path("file").write_bytes(b"")
    ran = real(b"a\n", "--out", "file")
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert "file/real_failover" in ran.stderr


def test_machine_without_a_loopback() -> None:
    """Goal: exit code 1 and one message. Method: no network at all."""
    words = no_network()
    unshare = words[: words.index("--net") + 1]
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "yak_cli", "demo", "--only", "real"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("failed: ")
    assert done.stdout.splitlines()[-1] == "valid: false"


MOMENTS = ("real brokers", "listens on", "epoch 1", "epoch 2", "restarted")


@pytest.mark.parametrize(
    "moment", ["SIGKILL", *(pytest.param(each, marks=pytest.mark.long) for each in MOMENTS)]
)
def test_interrupt_at_any_time_leaves_no_process(moment: str) -> None:
    """Goal: Ctrl-C exits with 130. Method: SIGINT to the process group, as a terminal does."""
    process, mark = start_demo("--only", "real")
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if moment in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output + rest
    assert "Traceback" not in output + rest
    assert processes_with(mark) == []
