"""A supervisor as a process of its own: its start and its reports; must never use a terminal.

The launcher gives it the specification on standard input, because the address of a Redis may hold a
password, and reads its reports from a pipe: an object ``{"kind", "text"}`` a line. When nobody
reads them any more before it has come up, it stops: nobody would know of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from yak_net.cluster import CannotStart
from yak_net.cluster.process import tail
from yak_net.cluster.service import FAILED, READY, REMARK, TAIL_LINES, Tell, run_cluster
from yak_net.cluster.signals import Signals
from yak_net.cluster.spec import ClusterSpec

LOG: Final = "supervisor.log"
PATHS: Final = ("data_dir", "trace_dir", "log_dir")


# -- the launcher ----------------------------------------------------------------------------------


async def launch(spec: ClusterSpec, path: Path, tell: Tell, within_s: float) -> int:
    """Start a detached supervisor and wait until its cluster serves; the exit code.

    Unless that is 0, nothing is left running.
    """
    with Signals() as signals:
        log = spec.data / LOG
        try:
            process, reports = _start(spec, path, log, within_s)
        except CannotStart as error:
            tell(FAILED, str(error))
            return 2
        signals.on_hurry = process.kill
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reports, "rb", 0)
        )
        relay = _Relay(stream, tell)
        try:
            relaying = asyncio.create_task(relay.run())
            if await signals.outlasted_by(relaying) and relay.verdict == READY:
                return 0
            if signals.number:
                process.terminate()
            # The pipe ends when the process does.
            while await stream.read(1024):
                continue
        finally:
            transport.close()
        code = await asyncio.to_thread(process.wait)
        if signals.number:
            return signals.exit_code
        if not relay.verdict:
            tell(REMARK, "\n".join(tail(log, TAIL_LINES)))
            tell(FAILED, f"the supervisor ended before a leader served: see {log}")
        return code if code > 0 else 1


class _Relay:
    """Passes reports on until the verdict, which is empty if none came."""

    def __init__(self, stream: asyncio.StreamReader, tell: Tell) -> None:
        self.verdict = ""
        self._stream = stream
        self._tell = tell

    async def run(self) -> None:
        while not self.verdict and (line := await self._stream.readline()):
            if not line.endswith(b"\n"):
                return  # It was killed while it wrote this.
            report = json.loads(line)
            self._tell(report["kind"], report["text"])
            if report["kind"] in (READY, FAILED):
                self.verdict = report["kind"]


def _start(
    spec: ClusterSpec, path: Path, log: Path, within_s: float
) -> tuple[subprocess.Popen[bytes], int]:
    """The process, and the end of the pipe that its reports come from. Raises CannotStart."""
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "yak_net.cluster.detached"]
    try:
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
    except OSError as error:
        os.close(reading)
        why = f"{error.filename}: {error.strerror}"
        raise CannotStart(f"cannot start a supervisor: {why}") from error
    finally:
        os.close(writing)
    assert process.stdin is not None
    try:
        process.stdin.write(_encode(spec))
        process.stdin.close()
    except BrokenPipeError:
        # It has ended already, and its log says why.
        return process, reading
    return process, reading


def _encode(spec: ClusterSpec) -> bytes:
    body = dataclasses.asdict(spec)
    for name in PATHS:
        body[name] = body[name] and str(body[name].absolute())
    return json.dumps(body).encode()


def _decode(data: bytes) -> ClusterSpec:
    body: dict[str, Any] = json.loads(data)
    for name in PATHS:
        body[name] = body[name] and Path(body[name])
    for name in ("config", "command"):
        body[name] = tuple(body[name])
    return ClusterSpec(**body)


# -- the process -----------------------------------------------------------------------------------


class _Reports:
    """Writes reports to the pipe until the verdict, and to the log from then on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_inheritable(fd, False)

    def tell(self, kind: str, text: str) -> None:
        """Report it."""
        with suppress(OSError):  # a full disk is no reason to end a cluster
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        if self._fd < 0:
            return
        try:
            os.write(self._fd, json.dumps({"kind": kind, "text": text}).encode() + b"\n")
        except BrokenPipeError:
            kind = READY
            os.kill(os.getpid(), signal.SIGTERM)
        if kind == READY:
            os.close(self._fd)
            self._fd = -1


def main(path: str, fd: int, within_s: float) -> int:
    """Run the cluster that is described on standard input."""
    spec = _decode(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    reports = _Reports(fd)
    return asyncio.run(run_cluster(spec, Path(path), reports.tell, within_s))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
