"""Runs a supervisor, its state file, control server and signals; in this process or detached.

When a cluster ends, its brokers are stopped, the state file is removed and the lock is released.
Output goes to a ``Report`` function, so that it is the same with and without a terminal.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from yak_net.cluster.errors import CannotStart, ClusterError, start_errors
from yak_net.cluster.metadata import NAME, warnings
from yak_net.cluster.process import tail
from yak_net.cluster.supervisor import ClusterSpec, Supervisor
from yak_net.metadata.redis_url import public_form
from yak_net.runtime.quick_import import quick_import
from yak_net.runtime.state_file import ClusterState, InUse, lock_path, take_lock, write_state


class ReportKind(StrEnum):
    """Kind of a report. READY is the last report of a successful start: the leader."""

    LINE = "line"
    NOTE = "note"
    READY = "ready"
    FAILED = "failed"


Report = Callable[[ReportKind, str], None]

EXIT_FAILED: Final = 1
EXIT_WRONG: Final = 2
TAIL_LINES: Final = 8
LOCK_TRIES: Final = 10
LOCK_RETRY_S: Final = 0.05
LOG: Final = "supervisor.log"


async def run_cluster(spec: ClusterSpec, path: Path, report: Report, within_s: float) -> int:
    """Run a cluster until a signal or ``yak cluster down``; return the exit code.

    Exit codes: 0 the cluster was ready and was stopped, 1 the start failed, 2 the cluster cannot be
    started with these options, 128 plus the signal number if a signal interrupted the start. This
    process holds the lock of the state file ``path`` until it exits, so ``yak cluster down`` waits
    for the lock.
    """
    service = _Service(spec, path, report, within_s)
    loop = asyncio.get_running_loop()
    for number in _signals():
        loop.add_signal_handler(number, service.on_signal, number)
    try:
        await _lock(path)
    except ClusterError as error:
        return _failed(error, report)
    return await service.run()


def curl_lines(url: str) -> tuple[str, ...]:
    """Return commands that send and read a record and show the health of the broker at ``url``.

    They work at each broker, since curl follows the redirect to the leader.
    """
    body = """'{"records": [{"value": "hello"}]}'"""
    return (
        f"try: curl {url}/health",
        f"try: curl -L '{url}/produce?redirect=1' -H 'Content-Type: application/json' -d {body}",
        f"try: curl -L '{url}/fetch?offset=earliest&redirect=1'",
    )


def _signals() -> list[signal.Signals]:
    """Return the signals that stop a cluster; without SIGHUP if it is ignored (nohup)."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


class _Service:
    def __init__(self, spec: ClusterSpec, path: Path, report: Report, within_s: float) -> None:
        quick_import("yak_net.cluster.control")  # here, because launch() does not need it
        from yak_net.cluster.control import ControlServer

        self.spec = spec
        self.path = path
        self.report = report
        self.within_s = within_s
        self.supervisor = Supervisor(spec, lambda sentence: report(ReportKind.NOTE, sentence))
        self.control = ControlServer(self.supervisor, self.stop)
        self.stopping = asyncio.Event()
        self.starting: asyncio.Task[None] | None = None
        self.signal = 0

    def on_signal(self, number: int) -> None:
        """Stop the cluster; at a second signal, kill the brokers."""
        if self.signal:
            self.supervisor.kill_all()
        self.signal = self.signal or number
        self.stop()

    def stop(self) -> None:
        """Interrupt the start, or stop the running cluster."""
        self.stopping.set()
        if self.starting is not None:
            self.starting.cancel()

    async def run(self) -> int:
        code = 0
        try:
            self.starting = asyncio.create_task(self._start())
            if self.stopping.is_set():
                self.starting.cancel()
            await self.starting
            await self.stopping.wait()
            self.report(ReportKind.NOTE, "stopping the brokers")
        except asyncio.CancelledError:
            reason = "interrupted before a leader was ready"
            self.report(ReportKind.NOTE, f"{reason}; stopping the brokers")
            code = 128 + self.signal if self.signal else EXIT_FAILED
        except ClusterError as error:
            code = _failed(error, self.report, self._failure_details())
        finally:
            try:
                await self.control.close()
                await self.supervisor.close()
            finally:
                self.path.unlink(missing_ok=True)
        if not code and not self.supervisor.stopped_cleanly:
            self.report(ReportKind.NOTE, "not all brokers stopped cleanly")
        return code

    async def _start(self) -> None:
        supervisor, report = self.supervisor, self.report
        await supervisor.open()
        state = ClusterState(
            cluster=self.spec.cluster,
            supervisor=os.getpid(),
            control=await self.control.start(),
            token=self.control.token,
            brokers=tuple(supervisor.urls.items()),
            bootstrap_servers=supervisor.bootstrap_servers,
            redis_url=supervisor.redis_url,
            data_dir=str(self.spec.data),
            log_dir=str(self.spec.logs),
        )
        with start_errors(f"write {self.path}"):
            write_state(self.path, state)
        await supervisor.start_all()
        for node, url in supervisor.urls.items():
            report(ReportKind.LINE, f"{node}  {url}  pid {supervisor.pids.get(node, 'none')}")
        for text in await self._metadata_lines():
            report(ReportKind.NOTE, text)
        for text in curl_lines(next(iter(supervisor.urls.values()))):
            report(ReportKind.NOTE, text)
        status = await supervisor.wait_until_ready(self.within_s)
        report(ReportKind.READY, f"leader {status.leader}, epoch {status.epoch}")

    async def _metadata_lines(self) -> tuple[str, ...]:
        """Return a line with the metadata store, and the warnings about the store."""
        spec, note = self.spec, self.supervisor.rebuilt
        if not spec.redis_url:
            where = f"metadata: embedded, not durable: saved to {spec.data / NAME} with a delay"
            return (where, note) if note else (where,)
        where = f"metadata: Redis at {public_form(spec.redis_url)}"
        found = await warnings(spec.redis_url, spec.cluster)
        return (where, *([note] if note else []), *found)

    def _failure_details(self) -> str:
        """Return the last log lines of the broker that failed last, or of all brokers."""
        supervisor = self.supervisor
        nodes, lines = supervisor.nodes, TAIL_LINES // 2
        if supervisor.died:
            nodes, lines = (supervisor.died[-1],), TAIL_LINES
        details = [
            f"{node} | {line}" for node in nodes for line in tail(supervisor.log_of(node), lines)
        ]
        if details:
            details.append(f"complete logs: {self.spec.logs}")
        return "\n".join(details)


async def _lock(path: Path) -> None:
    """Take the lock of a state file. Raises ClusterError if another cluster holds it."""
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            with start_errors(f"write {lock_path(path)}"):
                take_lock(lock_path(path))
            return
        except InUse as busy:
            # Another command may hold the lock briefly while it checks whether the lock is free.
            if not tries_left:
                raise ClusterError(
                    f"a cluster is already running (supervisor pid {busy.holder}, state file "
                    f"{path}); see yak cluster status, or stop it with yak cluster down"
                ) from None
        await asyncio.sleep(LOCK_RETRY_S)


def _failed(error: ClusterError, report: Report, details: str = "") -> int:
    if details:
        report(ReportKind.NOTE, details)
    report(ReportKind.FAILED, str(error))
    return EXIT_WRONG if isinstance(error, CannotStart) else EXIT_FAILED


# -- detached --------------------------------------------------------------------------------------


def launch(spec: ClusterSpec, path: Path, report: Report, within_s: float) -> int:
    """Run a cluster in a background process; return the exit code when it is ready or has ended.

    If the exit code is not 0, no process is left running. The background process reads the
    specification from standard input, because the Redis URL may contain a password. It sends its
    reports through a pipe, one JSON list ``[kind, text]`` per line.
    """
    process: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def forward_signal(number: int, _: object) -> None:
        received.append(number)
        if process is not None:
            process.send_signal(number)

    for number in _signals():
        signal.signal(number, forward_signal)
    log = spec.data / LOG
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "yak_net.cluster.service"]
    try:
        with start_errors(f"start a supervisor with {log}"):
            spec.data.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as out:
                process = subprocess.Popen(
                    [*command, str(path), str(writing), str(within_s)],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(writing,),
                )
    except CannotStart as error:
        return _failed(error, report)
    finally:
        os.close(writing)
    for early_signal in received:
        process.send_signal(early_signal)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # the process may have ended already
        pickle.dump(spec, process.stdin)
    failed = False
    with os.fdopen(reading) as reports:
        for line in reports:
            if not line.endswith("\n"):
                break  # the process was killed while it wrote this line
            kind, text = json.loads(line)
            report(ReportKind(kind), text)
            failed = failed or kind == ReportKind.FAILED
            if kind == ReportKind.READY:
                return 0
    code = process.wait()
    if received:
        return 128 + received[0]
    if not failed:
        report(ReportKind.NOTE, "\n".join(tail(log, TAIL_LINES)))
        reason = f"the supervisor exited with {code} before a leader was ready"
        report(ReportKind.FAILED, f"{reason}; see {log}")
    return code if code > 0 else EXIT_FAILED


def main(path: str, fd: int, within_s: float) -> int:
    """Run the cluster whose specification :func:`launch` sends to standard input."""
    spec: ClusterSpec = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own launcher

    def report(kind: ReportKind, text: str) -> None:
        """Send a report to the launcher until the cluster is ready; also print it to the log."""
        nonlocal fd
        with suppress(OSError):  # the cluster continues when the disk is full
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        if fd < 0:
            return
        try:
            os.write(fd, json.dumps([kind, text]).encode() + b"\n")
        except BrokenPipeError:
            # The launcher has ended, so the user would not know that this cluster runs.
            kind = ReportKind.READY
            os.kill(os.getpid(), signal.SIGTERM)
        if kind == ReportKind.READY:
            os.close(fd)
            fd = -1

    return asyncio.run(run_cluster(spec, Path(path), report, within_s))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
