"""A supervisor as a service: state file, control server, signals; in this process or detached.

However a cluster ends, a broker, a state file or a lock is never left behind. Reports go to a
``Report``, so that they are the same on a terminal and from a process without one.
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
from urllib.parse import urlsplit, urlunsplit

from yak_net.cluster.errors import CannotStart, ClusterError, must
from yak_net.cluster.metadata import NAME, warnings
from yak_net.cluster.process import tail
from yak_net.cluster.supervisor import ClusterSpec, Supervisor
from yak_net.runtime.quick_import import quick_import
from yak_net.runtime.state_file import ClusterState, InUse, lock_path, take_lock, write_state


class Kind(StrEnum):
    """Kind of a report. READY is the last line of the result: the leader."""

    LINE = "line"
    NOTE = "note"
    READY = "ready"
    FAILED = "failed"


Report = Callable[[Kind, str], None]

EXIT_FAILED: Final = 1
EXIT_WRONG: Final = 2
TAIL_LINES: Final = 8
LOCK_TRIES: Final = 10
LOCK_RETRY_S: Final = 0.05
LOG: Final = "supervisor.log"


async def run_cluster(spec: ClusterSpec, path: Path, report: Report, within_s: float) -> int:
    """Run a cluster until a signal or ``yak cluster down``; return the exit code.

    0 after it served, 1 it did not come up, 2 it cannot be started with these options, 128 and the
    number of the signal that ended the start. The lock of the state file ``path`` is held until
    this process ends, so that waiting for it is waiting for the end of everything.
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


def _signals() -> list[signal.Signals]:
    """Return the signals that stop a cluster; under nohup the end of the terminal does not."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


class _Service:
    def __init__(self, spec: ClusterSpec, path: Path, report: Report, within_s: float) -> None:
        quick_import("yak_net.cluster.control")  # not needed by the launcher of a detached one
        from yak_net.cluster.control import ControlServer

        self.spec = spec
        self.path = path
        self.report = report
        self.within_s = within_s
        self.supervisor = Supervisor(spec, lambda sentence: report(Kind.NOTE, sentence))
        self.control = ControlServer(self.supervisor, self.stop)
        self.stopping = asyncio.Event()
        self.starting: asyncio.Task[None] | None = None
        self.signal = 0

    def on_signal(self, number: int) -> None:
        """Stop; at a second signal, kill the brokers."""
        if self.signal:
            self.supervisor.hurry()
        self.signal = self.signal or number
        self.stop()

    def stop(self) -> None:
        """Interrupt a start, or end the service."""
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
            self.report(Kind.NOTE, "stopping the brokers")
        except asyncio.CancelledError:
            self.report(Kind.NOTE, "interrupted before a leader served: stopping the brokers")
            code = 128 + self.signal if self.signal else EXIT_FAILED
        except ClusterError as error:
            code = _failed(error, self.report, self._advice())
        finally:
            try:
                await self.control.close()
                await self.supervisor.close()
            finally:
                self.path.unlink(missing_ok=True)
        if not code and not self.supervisor.stopped_cleanly:
            self.report(Kind.NOTE, "a broker did not stop cleanly, or was killed")
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
        with must(f"write {self.path}"):
            write_state(self.path, state)
        await supervisor.start_all()
        for node, url in supervisor.urls.items():
            report(Kind.LINE, f"{node}  {url}  pid {supervisor.pids.get(node, 'none')}")
        for text in await self._on_metadata():
            report(Kind.NOTE, text)
        status = await supervisor.wait_until_ready(self.within_s)
        report(Kind.READY, f"leader {status.leader}, epoch {status.epoch}")

    async def _on_metadata(self) -> tuple[str, ...]:
        """Return where the metadata is, and what is wrong with it."""
        spec, note = self.spec, self.supervisor.note
        if not spec.redis_url:
            where = f"metadata: embedded, not durable (a stop saves it to {spec.data / NAME})"
            return (where, note) if note else (where,)
        parts = urlsplit(spec.redis_url)
        public = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        return (f"metadata: the Redis at {public}", *await warnings(spec.redis_url, spec.cluster))

    def _advice(self) -> str:
        """Return the last log lines: those of the broker that died last, or of each if none has."""
        supervisor = self.supervisor
        nodes, lines = supervisor.nodes, TAIL_LINES // 2
        if supervisor.died:
            nodes, lines = (supervisor.died[-1],), TAIL_LINES
        said = [
            f"{node} | {line}" for node in nodes for line in tail(supervisor.log_of(node), lines)
        ]
        if said:
            said.append(f"the whole logs are in {self.spec.logs}")
        if supervisor.note:
            said.append(
                f"{supervisor.note}, so a later change may be missing: if brokers halt because of "
                f"that, give another --data-dir, or delete {self.spec.data} if you need nothing of "
                "it"
            )
        return "\n".join(said)


async def _lock(path: Path) -> None:
    """Take the lock of a state file. Raises ClusterError when a cluster runs there."""
    for left in reversed(range(LOCK_TRIES)):
        try:
            with must(f"write {lock_path(path)}"):
                take_lock(lock_path(path))
            return
        except InUse as busy:
            # A command may hold it for a moment, to see whether it is free.
            if not left:
                raise ClusterError(
                    f"a cluster runs here already (supervisor: process {busy.holder}; {path}): see "
                    "yak cluster status, or stop it with yak cluster down"
                ) from None
        await asyncio.sleep(LOCK_RETRY_S)


def _failed(error: ClusterError, report: Report, advice: str = "") -> int:
    if advice:
        report(Kind.NOTE, advice)
    report(Kind.FAILED, str(error))
    return EXIT_WRONG if isinstance(error, CannotStart) else EXIT_FAILED


# -- detached --------------------------------------------------------------------------------------


def launch(spec: ClusterSpec, path: Path, report: Report, within_s: float) -> int:
    """Run a cluster in a process of its own; return the exit code once it serves or has ended.

    Unless that is 0, nothing is left running. The process takes the specification from its standard
    input, since the address of a Redis may hold a password, and reports through a pipe: a list
    ``[kind, text]`` a line.
    """
    process: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        if process is not None:
            process.send_signal(number)

    for number in _signals():
        signal.signal(number, pass_on)
    log = spec.data / LOG
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "yak_net.cluster.service"]
    try:
        with must(f"start a supervisor with {log}"):
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
    for early in received:
        process.send_signal(early)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # it may have ended already
        pickle.dump(spec, process.stdin)
    failed = False
    with os.fdopen(reading) as reports:
        for line in reports:
            if not line.endswith("\n"):
                break  # It was killed while it wrote this.
            kind, text = json.loads(line)
            report(Kind(kind), text)
            failed = failed or kind == Kind.FAILED
            if kind == Kind.READY:
                return 0
    code = process.wait()
    if received:
        return 128 + received[0]
    if not failed:
        report(Kind.NOTE, "\n".join(tail(log, TAIL_LINES)))
        report(Kind.FAILED, f"the supervisor ended before a leader served: see {log}")
    return code if code > 0 else EXIT_FAILED


def main(path: str, fd: int, within_s: float) -> int:
    """Run the cluster that :func:`launch` describes on standard input."""
    spec: ClusterSpec = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own launcher

    def report(kind: Kind, text: str) -> None:
        """Report to the launcher until the cluster is ready, and to the log."""
        nonlocal fd
        with suppress(OSError):  # a full disk is no reason to end a cluster
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        if fd < 0:
            return
        try:
            os.write(fd, json.dumps([kind, text]).encode() + b"\n")
        except BrokenPipeError:
            # The launcher is gone, so nobody would know of this cluster.
            kind = Kind.READY
            os.kill(os.getpid(), signal.SIGTERM)
        if kind == Kind.READY:
            os.close(fd)
            fd = -1

    return asyncio.run(run_cluster(spec, Path(path), report, within_s))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
