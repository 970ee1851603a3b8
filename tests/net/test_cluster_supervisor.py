"""The supervisor starts, stops and watches processes, and none outlives it.

Method: fake brokers with the faults of ``FAKE_<NODE>``.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.net.brokers import ROOT, until
from tests.net.cluster_tools import is_running, marked, spec_of, wait_for
from tests.net.test_older_data import STATE
from yak_core.metadata.store_calls import Cas, StoreOk
from yak_net.cluster import orphan_guard
from yak_net.cluster.errors import CannotStart, ClusterError, UnknownNode
from yak_net.cluster.metadata import client_of
from yak_net.cluster.process import tail
from yak_net.cluster.supervisor import Supervisor
from yak_net.runtime.state_file import take_lock


async def test_brokers_run_and_stop_with_the_supervisor(tmp_path: Path) -> None:
    """Goal: all brokers run with the same options, a leader is ready, and all end."""
    async with Supervisor(spec_of(tmp_path)) as cluster:
        status = await cluster.wait_until_ready()
        assert (status.leader, status.epoch, status.serves) == ("n1", 1, True)
        assert list(cluster.pids) == ["n1", "n2", "n3"]
        assert all(is_running(pid) for pid in cluster.started_pids)
        rows = [(row.id, row.pid, row.role, row.leo, row.hw, row.up) for row in status.brokers]
        assert rows[1] == ("n2", cluster.pids["n2"], "follower", 5, 4, True)
        log = cluster.log_of("n2").read_text()
        brokers = ",".join(f"{node}={url}" for node, url in cluster.urls.items())
        for text in (f"metadata {cluster.redis_url}", brokers, str(tmp_path / "data" / "n2")):
            assert text in log
        command = Path("/proc", str(cluster.pids["n2"]), "cmdline")
        assert "redis://" not in await asyncio.to_thread(command.read_text)
    assert not [pid for pid in cluster.started_pids if is_running(pid)]
    assert cluster.stopped_cleanly
    assert "n2 has stopped" in cluster.log_of("n2").read_text()
    assert cluster.died == []


async def test_killed_broker_stays_down_until_restart(tmp_path: Path) -> None:
    """Goal: kill sends SIGKILL, the port stays reserved, restart starts a new process there."""
    async with Supervisor(spec_of(tmp_path)) as cluster:
        await cluster.wait_until_ready()
        before = cluster.pids["n2"]
        assert await cluster.kill("n2") == before
        assert not is_running(before)
        row = (await cluster.status()).brokers[1]
        assert (row.up, row.pid, row.state) == (False, None, "down")
        assert re.search("n2.*killed", row.problem)
        with pytest.raises(ClusterError, match=r"n2.*killed"):
            await cluster.kill("n2")
        port = int(cluster.urls["n2"].rpartition(":")[2])
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        after = await cluster.restart("n2")
        await cluster.wait_until_up("n2")
        assert after != before
        assert cluster.pids["n2"] == after
        assert cluster.urls["n2"].endswith(f":{port}")
        assert cluster.died == []


async def test_restart_stops_a_broker_that_runs(tmp_path: Path) -> None:
    """Goal: a graceful stop, or SIGKILL after a timeout."""
    spec = spec_of(tmp_path, stop_s=0.3, env={"FAKE_N2": "deaf"})
    async with Supervisor(spec) as cluster:
        await cluster.wait_until_ready()
        before = dict(cluster.pids)
        await cluster.restart("n1")
        await cluster.restart("n2")
        await cluster.wait_until_ready()
        assert "n1 has stopped" in cluster.log_of("n1").read_text()
        assert "n2 has stopped" not in cluster.log_of("n2").read_text()
        assert not [pid for pid in (before["n1"], before["n2"]) if is_running(pid)]
        assert cluster.pids["n3"] == before["n3"]
    assert not cluster.stopped_cleanly
    assert not [pid for pid in cluster.started_pids if is_running(pid)]


async def test_pause_and_resume(tmp_path: Path) -> None:
    """Goal: pause stops a broker, resume continues it, a stop of the cluster reaches it."""
    async with Supervisor(spec_of(tmp_path)) as cluster:
        await cluster.wait_until_ready()
        await cluster.pause("n1")
        stat = Path(f"/proc/{cluster.pids['n1']}/stat")
        await wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "stopped")
        status = await cluster.status()
        assert not status.serves
        assert (status.brokers[0].state, status.brokers[0].up) == ("paused", False)
        with pytest.raises(ClusterError, match=r"no leader .* 0\.1 s.* n1 .*paused"):
            await cluster.wait_for_leader(0.1)
        await cluster.resume("n1")
        assert (await cluster.wait_for_leader()).leader == "n1"
        await cluster.pause("n3")
    assert cluster.stopped_cleanly
    assert not [pid for pid in cluster.started_pids if is_running(pid)]


async def test_dead_brokers_count_at_once(tmp_path: Path) -> None:
    """Goal: not ready as soon as fewer than min ISR processes of the ISR run, killed or paused.

    Method: a metadata record with min ISR 2; the fake leader goes on to report that it is ready.
    """
    async with Supervisor(spec_of(tmp_path, env={"FAKE_ISR": "n1,n2,n3"})) as cluster:
        store = client_of(cluster.redis_url, "yak")
        assert isinstance(await store.call(Cas(None, STATE, None)), StoreOk)
        await store.close()
        await cluster.wait_until_ready()
        await cluster.kill("n2")
        assert (await cluster.status()).serves, "n1 and n3 are enough"
        await cluster.kill("n3")
        status = await cluster.status()
        assert (status.leader, status.serves) == ("n1", False)
        assert "n2, n3" in status.reason
        await cluster.restart("n3")
        assert (await cluster.wait_for_leader()).serves
        await cluster.pause("n3")
        assert not (await cluster.status()).serves


async def test_unknown_and_downed_brokers_are_refused(tmp_path: Path) -> None:
    """Goal: the error names the brokers, or has advice."""
    async with Supervisor(spec_of(tmp_path, nodes=2)) as cluster:
        for act in (cluster.kill, cluster.restart, cluster.pause, cluster.resume):
            with pytest.raises(UnknownNode, match=r"n9.* n1, n2"):
                await act("n9")
        await cluster.kill("n2")
        for act in (cluster.pause, cluster.resume):
            with pytest.raises(ClusterError, match="restart"):
                await act("n2")


async def test_end_of_a_broker_is_reported(tmp_path: Path) -> None:
    """Goal: the end of a broker is reported with its last log line; the broker stays down."""
    reports: list[str] = []
    async with Supervisor(spec_of(tmp_path), reports.append) as cluster:
        await cluster.wait_until_ready()
        pid = cluster.pids["n3"]
        os.kill(pid, signal.SIGKILL)
        await wait_for(lambda: reports, "the report")
        assert re.search(rf"n3 .*\b{pid}\b.*SIGKILL.*: n3 serves", reports[0])
        assert (await cluster.status()).brokers[2].reason == reports[0]
        assert list(cluster.pids) == ["n1", "n2"]
        await cluster.restart("n3")
        await cluster.wait_until_up("n3")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("refuse", "2: cannot be started so", marks=pytest.mark.long),
        ("halt", "1: halted"),
    ],
)
async def test_broker_that_does_not_come_up_is_the_reason(
    tmp_path: Path, fault: str, reason: str
) -> None:
    """Goal: a start fails with the last log line of the failed broker, and leaves no process."""
    async with Supervisor(spec_of(tmp_path, env={"FAKE_N2": fault})) as cluster:
        with pytest.raises(ClusterError, match=rf"n2 .*\d+.* {reason}"):
            await cluster.wait_until_ready()
        with pytest.raises(ClusterError, match=reason):
            await cluster.wait_until_up("n2")
    assert not [pid for pid in cluster.started_pids if is_running(pid)]


async def test_wait_without_a_broker_or_a_leader(tmp_path: Path) -> None:
    """Goal: the wait ends at once without brokers, and at the timeout without a leader."""
    async with Supervisor(spec_of(tmp_path, nodes=1, env={"FAKE_N1": "refuse"})) as cluster:
        with pytest.raises(ClusterError, match=r"n1 .* cannot be started"):
            await cluster.wait_for_leader()
    spec = spec_of(tmp_path, nodes=1, env={"FAKE_LEADER": "n2"})
    async with Supervisor(spec) as cluster:
        with pytest.raises(ClusterError, match=r"no leader .* 0\.2 s"):
            await cluster.wait_until_ready(0.2)


async def test_mute_broker_is_not_up(tmp_path: Path) -> None:
    """Goal: a broker that does not answer costs at most a second, and is not up."""
    spec = spec_of(tmp_path, nodes=2, env={"FAKE_N2": "mute"})
    async with Supervisor(spec) as cluster:
        status = await cluster.wait_for_leader()
        row = status.brokers[1]
        assert (row.state, row.pid, row.up) == ("running", cluster.pids["n2"], False)


async def test_start_that_fails_releases_everything(tmp_path: Path) -> None:
    """Method: a missing program; then the data of another cluster, which keeps running."""
    with pytest.raises(CannotStart, match="/nothing/here"):
        async with Supervisor(spec_of(tmp_path, command=("/nothing/here",))):
            pass
    async with Supervisor(spec_of(tmp_path)) as cluster:
        with pytest.raises(CannotStart, match=f"in use .* {os.getpid()}"):
            async with Supervisor(spec_of(tmp_path)):
                pass
        assert (await cluster.wait_until_ready()).serves


@pytest.mark.long
async def test_cancelled_stop_is_quick_and_complete(tmp_path: Path) -> None:
    """Goal: a second cancellation kills. Method: brokers that ignore SIGTERM."""
    deaf = {f"FAKE_N{number}": "deaf" for number in (1, 2, 3)}
    cluster = Supervisor(spec_of(tmp_path, env=deaf, stop_s=1_000.0))
    logs = [cluster.log_of(node) for node in ("n1", "n2", "n3")]

    async def live() -> None:
        async with cluster:
            await asyncio.Event().wait()

    task = asyncio.create_task(live())
    for text in ("serves", "stop requested"):
        await wait_for(lambda: all(text in "".join(tail(log, 9)) for log in logs), text)  # noqa: B023
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [pid for pid in cluster.started_pids if is_running(pid)]


PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.net.cluster_tools import spec_of
from yak_net.cluster.supervisor import Supervisor

async def main():
    async with Supervisor(spec_of(Path(sys.argv[1]))) as cluster:
        await cluster.wait_for_leader()
        print(*cluster.started_pids, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_brokers_stop_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """Goal: SIGKILL of the supervisor ends all brokers gracefully, a paused one as well."""
    with marked() as processes:
        command = [sys.executable, "-P", "-c", PROGRAM, str(tmp_path)]
        process = processes.start(command, tmp_path, PYTHONPATH=str(ROOT))
        assert process.stdout is not None
        started = [int(word) for word in process.stdout.readline().split()]
        assert len([pid for pid in started if is_running(pid)]) == 4
        os.kill(started[-1], signal.SIGSTOP)
        process.kill()
        processes.all_gone()
    assert "n3 has stopped" in (tmp_path / "data" / "n3.log").read_text()


@pytest.mark.long
async def test_next_supervisor_waits_for_the_brokers_of_a_killed_one(tmp_path: Path) -> None:
    """Goal: a start right after SIGKILL succeeds. Method: a lock that is freed later."""
    held = take_lock(tmp_path / "data" / "n1" / "lock")
    starting = asyncio.create_task(Supervisor(spec_of(tmp_path)).__aenter__())
    done, _ = await asyncio.wait((starting,), timeout=0.3)
    assert not done
    os.close(held)
    cluster = await starting
    assert (await cluster.wait_until_ready()).serves
    await cluster.close()
    held = take_lock(tmp_path / "data" / "n1" / "lock")
    with pytest.raises(CannotStart, match=f"in use .* {os.getpid()}"):
        await Supervisor(spec_of(tmp_path, stop_s=0.1)).__aenter__()
    os.close(held)


def test_guard_kills_a_hanging_broker(tmp_path: Path) -> None:
    """Goal: a broker that ignores its lifeline is killed. Method: a guard with a short timeout."""
    with marked() as processes:
        code = "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"
        deaf = processes.start([sys.executable, "-c", code], tmp_path)
        assert deaf.poll() is None
        orphan_guard.end([orphan_guard.WatchedProcess(deaf.pid)], 0.2)
        until(lambda: deaf.poll() is not None, "it is killed")
        assert deaf.returncode == -signal.SIGKILL
