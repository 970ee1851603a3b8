"""Parts of ``yak bench peers``: processes of servers, lines of files, waits of a failover."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import lines, redis_peer, servers
from benchmarks.lines import WrongOutput
from benchmarks.procs import longest_wait_s
from tests.net.brokers import CLEAN, until
from tests.require import executable

DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); open('ready', 'w'); time.sleep(60)"


@pytest.mark.long
def test_servers_end_with_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no process is left after an exception; method: one server ignores SIGTERM."""
    monkeypatch.setattr(servers, "END_S", 0.2)
    found: list[subprocess.Popen[bytes]] = []
    folders: list[Path] = []

    def interrupted() -> None:
        with servers.servers("yak-bench-test-") as running:
            folders.append(running.folder)
            program = f"import os; os.chdir({str(running.folder)!r}); {DEAF}"
            for words in (("sleep", "60"), (sys.executable, "-S", "-c", program)):
                found.append(running.start(words))
            until((running.folder / "ready").exists, "it ignores SIGTERM")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [process.returncode for process in found] == [-15, -9]
    assert not folders[0].exists()


def test_a_module_of_the_benchmarks_starts_in_any_folder(tmp_path: Path) -> None:
    """Goal: brokers without a lever start where the benchmarks are not installed."""
    words = (*servers.module_command("benchmarks.levers"), "--broker", "nothing", "broker")
    done = subprocess.run(
        [*words, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        env={name: value for name, value in CLEAN.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "--node-id" in done.stdout


def test_the_longest_wait_is_that_of_the_record_in_the_gap() -> None:
    """Goal: records that the leader acknowledges before its end are not the gap.

    Method: two quick acknowledgements, one that waits until the end, and a quick one after it.
    """
    waits = [0.0, 0.0, 0.2, 0.0, 0.0]
    sent = 0

    async def send() -> None:
        nonlocal sent
        sent += 1
        await asyncio.sleep(waits[sent - 1])

    found = asyncio.run(longest_wait_s(send, lambda: sent == 3))
    assert sent == 4, "one record was sent after the end"
    assert 0.2 <= found < 10


@pytest.mark.long
def test_lines_go_into_redis_and_out(tmp_path: Path) -> None:
    """Goal: each line is counted, in and out; method: a Redis without replicas."""
    executable("redis-server")
    executable("redis-cli")
    line = lines.write_lines(tmp_path / "lines", 50, 30)
    assert (tmp_path / "lines").read_bytes() == (line + b"\n") * 50
    [port] = servers.free_ports(1)
    with redis_peer.server(port):
        took = lines.redis_s(port, 0, tmp_path, line, 50)
        assert all(seconds > 0 for seconds in took)
        with pytest.raises(WrongOutput, match="expected 50 lines, found 100"):
            lines.redis_s(port, 0, tmp_path, line, 50)


def test_output_that_differs_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a failed command and a lost line end the measurement; method: other commands."""
    lines.write_lines(tmp_path / "lines", 3, 10)
    with pytest.raises(WrongOutput, match="ended with 3: no"):
        lines._timed(("sh", "-c", "echo no >&2; exit 3"), Path(os.devnull), tmp_path / "out")

    def lossy(command: tuple[str, ...], source: Path, target: Path) -> float:
        target.write_bytes((tmp_path / "lines").read_bytes()[:-11])
        return 1.0

    monkeypatch.setattr(lines, "_timed", lossy)
    with pytest.raises(WrongOutput, match="not the lines"):
        lines.ours_s(("127.0.0.1:1",), tmp_path, tmp_path / "lines")
