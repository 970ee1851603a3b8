"""``yak cluster up`` starts the whole cluster, or leaves no process after an interrupt.

Method: fake brokers; every process inherits a mark, and a scan of all processes finds it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.net.brokers import until
from tests.net.cluster_tools import PATIENCE_S, Marked, drive, is_running, marked, spec_of
from yak_net.cluster.cli import cluster

LONG = pytest.mark.long
EARLY = ("supervisor", "state")
INTERRUPTS = [
    *(("serves", number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),
    *((moment, signal.SIGINT) for moment in (*EARLY, "lock", "n1.log")),
]


@pytest.fixture
def processes() -> Iterator[Marked]:
    """Yield marked processes; none have ended after the test."""
    with marked() as found:
        yield found


def state_file(folder: Path) -> Path:
    """Return the path of the state file."""
    return folder / ".yak" / "cluster.json"


def state_of(folder: Path) -> dict[str, Any]:
    """Return the content of the state file."""
    found: dict[str, Any] = json.loads(state_file(folder).read_text())
    return found


def lines_until(process: subprocess.Popen[str], beginning: str) -> list[str]:
    """Return the lines of standard output up to the first with this beginning."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(beginning):
            return lines
    raise AssertionError(f"no {beginning}: {lines}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit code and the rest of the output."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def reached(moment: str, folder: Path, processes: Marked) -> bool:
    """Return whether a start has reached a step."""
    log = folder / "data" / "n3.log"
    match moment:
        case "supervisor":
            return bool(processes.left())
        case "lock":
            return (folder / ".yak" / "cluster.json.lock").exists()
        case "state":
            return state_file(folder).exists()
        case "serves":
            return log.exists() and "serves" in log.read_text()
        case _:
            return (folder / "data" / moment).exists()


def test_foreground_runs_until_it_is_interrupted(tmp_path: Path, processes: Marked) -> None:
    """Goal: one line for each broker, the leader, an ended broker; nothing left after Ctrl-C."""
    process = drive(processes, tmp_path, spec_of(tmp_path))
    lines = lines_until(process, "leader")
    state = state_of(tmp_path)
    assert state["supervisor"] == process.pid
    assert state["bootstrap_servers"] == [row["url"][7:] for row in state["brokers"]]
    rows = [line.split() for line in lines[:-1]]
    assert [row[:2] for row in rows] == [[row["id"], row["url"]] for row in state["brokers"]]
    assert all(is_running(int(row[3])) for row in rows)
    assert re.search(r"\bn1\b.*\b1\b", lines[-1])
    os.kill(int(rows[1][3]), signal.SIGKILL)
    assert process.stderr is not None
    notes = [process.stderr.readline() for _ in range(5)]
    assert "not durable" in notes[0]
    assert all(state["brokers"][0]["url"] in note for note in notes[1:4])
    assert re.search(rf"n2 .*\b{rows[1][3]}\b.*SIGKILL", notes[4])
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 0
    assert not state_file(tmp_path).exists()
    assert processes.left() == {}
    assert json.loads((tmp_path / "data" / "metadata.json").read_text())["final"]


@pytest.mark.long
@pytest.mark.parametrize(("moment", "number"), INTERRUPTS)
def test_interrupted_start_leaves_nothing(
    tmp_path: Path, processes: Marked, moment: str, number: signal.Signals
) -> None:
    """Goal: no process is left after the command, at any moment of the interrupt."""
    process = drive(processes, tmp_path, spec_of(tmp_path, env={"FAKE_LEADER": "none"}))
    until(lambda: reached(moment, tmp_path, processes), moment)
    process.send_signal(number)
    code, out, err = ended(process)
    # Before the command handles signals they end it, and no process was started yet.
    early = -number if moment == "supervisor" else 128 + number
    assert code in (128 + number, early), (out, err)
    if code > 0 and "Traceback" in err:
        raise AssertionError(err)
    assert processes.left() == {}
    assert not state_file(tmp_path).exists()


@pytest.mark.long
def test_second_interrupt_kills(tmp_path: Path, processes: Marked) -> None:
    """Goal: a second Ctrl-C does not wait for brokers that do not stop."""
    deaf = {f"FAKE_N{number}": "deaf" for number in (1, 2, 3)}
    process = drive(processes, tmp_path, spec_of(tmp_path, stop_s=1_000.0, env=deaf))
    lines_until(process, "leader")
    process.send_signal(signal.SIGINT)
    logs = [tmp_path / "data" / f"n{number}.log" for number in (1, 2, 3)]
    until(lambda: all("stop requested" in log.read_text() for log in logs), "they are asked")
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert (code, "cleanly" in err) == (0, True)
    assert processes.left() == {}


@pytest.mark.parametrize("detach", [pytest.param(False, marks=LONG), True])
def test_failed_start_reports_the_reason(tmp_path: Path, processes: Marked, detach: bool) -> None:
    """Goal: the broker's own message, the end of its log, no process left."""
    spec = spec_of(tmp_path, env={"FAKE_N2": "refuse"})
    code, _, err = ended(drive(processes, tmp_path, spec, detach))
    assert code == 1
    assert re.search("n2.* 2: cannot be started so", err.splitlines()[-1])
    assert "n2 | yak broker: cannot be started so" in err
    assert processes.left() == {}
    assert not state_file(tmp_path).exists()


def test_detached_cluster_stays_until_down(tmp_path: Path, processes: Marked) -> None:
    """Goal: the command returns once a leader is ready, its output is closed, down ends all."""
    process = drive(processes, tmp_path, spec_of(tmp_path), detach=True)
    code, out, err = ended(process)  # returns only if no process keeps its output open
    assert code == 0, err
    assert re.search(r"\bn1\b.*\b1\b", out.splitlines()[-1])
    state = state_of(tmp_path)
    left = processes.left()
    assert len(left) == 5  # the supervisor, its guard, three brokers
    assert state["supervisor"] in left
    assert os.getsid(state["supervisor"]) == state["supervisor"]
    assert not any(state["token"] in words for words in left.values())
    again = drive(processes, tmp_path, spec_of(tmp_path / "other"))
    code, _, err = ended(again)
    assert (code, f"pid {state['supervisor']}" in err) == (1, True)
    assert processes.left() == left
    done = processes.yak(tmp_path, "cluster", "down")
    assert (done.returncode, "cluster yak" in done.stdout) == (0, True)
    assert processes.left() == {}
    assert not state_file(tmp_path).exists()


@pytest.mark.parametrize("moment", [*(pytest.param(m, marks=LONG) for m in EARLY), "serves"])
def test_interrupted_detached_start_leaves_nothing(
    tmp_path: Path, processes: Marked, moment: str
) -> None:
    """Goal: Ctrl-C during the wait for a leader ends the supervisor as well."""
    spec = spec_of(tmp_path, env={"FAKE_LEADER": "none"})
    process = drive(processes, tmp_path, spec, detach=True)
    until(lambda: reached(moment, tmp_path, processes), moment)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] in (130, -signal.SIGINT)
    assert processes.left() == {}
    assert not state_file(tmp_path).exists()


@pytest.mark.long
def test_detached_start_without_its_launcher_ends(tmp_path: Path, processes: Marked) -> None:
    """Goal: a killed launcher leaves no cluster."""
    spec = spec_of(tmp_path, env={"FAKE_LEADER": "none"})
    process = drive(processes, tmp_path, spec, detach=True)
    until(lambda: reached("lock", tmp_path, processes), "it starts")
    process.kill()
    processes.all_gone()
    assert not state_file(tmp_path).exists()


@pytest.mark.long
def test_killed_supervisor_leaves_no_broker_and_no_obstacle(
    tmp_path: Path, processes: Marked
) -> None:
    """Goal: after SIGKILL the brokers end, the state file is stale, and up replaces it."""
    assert ended(drive(processes, tmp_path, spec_of(tmp_path), detach=True))[0] == 0
    supervisor = state_of(tmp_path)["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    processes.all_gone()
    status = processes.yak(tmp_path, "cluster", "status", "--json")
    assert (status.returncode, status.stdout) == (1, "")
    assert "yak cluster up" in status.stderr
    assert ended(drive(processes, tmp_path, spec_of(tmp_path), detach=True))[0] == 0
    assert state_of(tmp_path)["supervisor"] != supervisor
    os.kill(state_of(tmp_path)["supervisor"], signal.SIGKILL)
    processes.all_gone()
    done = processes.yak(tmp_path, "cluster", "down")
    assert (done.returncode, state_file(tmp_path).exists()) == (0, False)
    assert "cleanly" in done.stdout


def test_commands_reach_the_supervisor(
    tmp_path: Path, processes: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: status, kill, restart, pause, resume and logs work, with their exit codes."""
    assert ended(drive(processes, tmp_path, spec_of(tmp_path), detach=True))[0] == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YAK_CLUSTER_FILE", raising=False)
    # A configured web proxy is not used for 127.0.0.1.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    def yak(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(cluster, words)
        return done.exit_code, done.stdout, done.stderr

    code, out, _ = yak("status", "--json")
    status = json.loads(out)
    assert (code, status["leader"], len(status["brokers"])) == (0, "n1", 3)
    pid = status["brokers"][1]["pid"]
    code, out, err = yak("kill", "n2")
    assert (code, "n2" in out, str(pid) in out, err) == (0, True, True, "")
    assert not is_running(pid)
    assert yak("kill", "n2")[0] == 1
    code, out, err = yak("status")
    assert (code, "n2    down" in out, "n2" in err) == (0, True, True)
    assert yak("restart", "n2")[0] == 0
    assert yak("pause", "n1")[0] == 0
    code, out, _ = yak("status")
    assert (code, "n1    paused" in out) == (10, True)
    assert yak("resume", "n1")[0] == 0
    assert yak("status")[0] == 0
    for words in (("kill", "n9"), ("pause", "a/b"), ("logs", "n9")):
        code, out, err = yak(*words)
        assert (code, out, "n1, n2, n3" in err) == (2, "", True)
    code, out, _ = yak("logs", "-n", "1")
    assert [line[:4] for line in out.splitlines()] == ["n1 |", "n2 |", "n3 |"]


def test_logs_are_followed(tmp_path: Path, processes: Marked) -> None:
    """Goal: added lines are printed at once, until Ctrl-C."""
    (tmp_path / "data").mkdir()
    log = tmp_path / "data" / "n1.log"
    log.write_text("one\ntwo\n")
    words = ("cluster", "logs", "n1", "-f", "-n", "1", "--data-dir", "data")
    command = [sys.executable, "-P", "-m", "yak_cli", *words]
    process = processes.start(command, tmp_path, PYTHONUNBUFFERED="1")
    assert lines_until(process, "two") == ["two"]
    with log.open("a") as file:
        file.write("three\n")
    assert lines_until(process, "three") == ["three"]
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130


@pytest.mark.long
def test_closed_output(
    tmp_path: Path, processes: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: `up | head -1` does not end the cluster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YAK_CLUSTER_FILE", raising=False)
    process = drive(processes, tmp_path, spec_of(tmp_path))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    until(lambda: CliRunner().invoke(cluster, ["status"]).exit_code == 0, "a ready cluster")
    process.send_signal(signal.SIGINT)
    process.stdout = None
    # The brokers may be ready before `up` knows it: then its start is interrupted.
    assert process.wait(PATIENCE_S) in (0, 130)
