"""``yak`` commands as forked processes, which saves the start of an interpreter.

A process that has imported YAK forks a process for each command, and a keeper that waits for its
end. Each command has its own signals, descriptors, environment and exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, NoReturn, TypeAlias

Given: TypeAlias = int | IO[bytes]
PATIENCE_S = 30.0
MODULES = (
    "asyncio", "yak_cli", "yak_net.cli", "yak_net.broker.process", "yak_net.client.cli_produce",
    "yak_net.client.cli_consume", "yak_net.client.runtime", "rich.progress",
)  # fmt: skip
REQUEST_BYTES = 200_000


class Forked:
    """A running command, with the interface of :class:`subprocess.Popen`.

    ``stdin``, ``stdout`` and ``stderr`` are pipes; a file given instead of one cannot be read.
    """

    def __init__(
        self,
        words: tuple[str, ...],
        env: dict[str, str],
        stdin: Given = subprocess.PIPE,
        stdout: Given = subprocess.PIPE,
        stderr: Given = subprocess.PIPE,
    ) -> None:
        with contextlib.ExitStack() as after:
            self.stdin, theirs_in = _pipe(stdin, after, theirs=0)
            self.stdout, theirs_out = _pipe(stdout, after, theirs=1)
            self.stderr, theirs_err = _pipe(stderr, after, theirs=1)
            reading, writing = os.pipe()
            after.callback(os.close, writing)
            self._status = os.fdopen(reading)
            FORKER.fork(words, env, [theirs_in, theirs_out, theirs_err, writing])
        self.returncode: int | None = None
        self.pid = int(self._status.readline())

    def poll(self) -> int | None:
        """Return the exit code or minus the number of the signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Wait for the end and return the result of poll(). Raises TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("yak", timeout)
        return code

    def communicate(self, given: bytes = b"", timeout: float = PATIENCE_S) -> tuple[bytes, bytes]:
        """Write all input, read all output, and wait; standard error must fit into a pipe."""
        with contextlib.suppress(BrokenPipeError), self.stdin:
            self.stdin.write(given)
        output = (self.stdout.read(), self.stderr.read())
        self.wait(timeout)
        return output

    def send_signal(self, number: int) -> None:
        """Send a signal unless the command has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(9)

    def close(self) -> None:
        """Kill the command if it still runs, and close the pipes."""
        self.kill()
        self.wait()
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _look(self, within_s: float) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], within_s)[0]:
            with self._status:
                self.returncode = int(self._status.readline())
        return self.returncode


def _pipe(given: Given, after: contextlib.ExitStack, theirs: int) -> tuple[IO[bytes], int]:
    """Make a pipe; return our end and the other end, which ``after`` closes in this process."""
    if given != subprocess.PIPE:
        return io.BytesIO(), given if isinstance(given, int) else given.fileno()
    ends = os.pipe()
    after.callback(os.close, ends[theirs])
    return os.fdopen(ends[1 - theirs], "rb" if theirs else "wb"), ends[theirs]


class Forker:
    """The process that forks; started at the first fork."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def fork(self, words: tuple[str, ...], env: dict[str, str], fds: list[int]) -> None:
        """Fork a command with these standard descriptors, and a descriptor for its status."""
        if self._requests is None:
            self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.net.forked", str(theirs.fileno())],
                    cwd=Path(__file__).parents[2], pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
        socket.send_fds(self._requests, [json.dumps([words, env]).encode()], fds)

    def close(self) -> None:
        """End the process. Raises TimeoutExpired if a command still runs."""
        if self._process is not None and self._requests is not None:
            self._requests.close()
            self._process.wait(PATIENCE_S)


FORKER = Forker()


def main(requests: socket.socket) -> None:
    """Fork for each request until the socket is closed, then wait for all commands."""
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()
    while True:
        text, fds, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 4)
        if text and not os.fork():
            requests.close()
            keep(json.loads(text), fds)
            os._exit(0)
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG if text else 0)[0]:
                pass
        if not text:
            return


def keep(request: tuple[list[str], dict[str, str]], fds: list[int]) -> None:
    """Run the command, or wait for it and report its process id and its exit."""
    words, env = request
    *streams, status = fds
    pid = os.fork()
    if pid:
        for fd in streams:
            os.close(fd)
        with os.fdopen(status, "w", buffering=1) as out:
            print(pid, file=out)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=out)
        return
    os.setsid()
    os.close(status)
    for standard, fd in enumerate(streams):
        os.dup2(fd, standard)
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["yak", *words]
    try:
        sys.modules["yak_cli"].main(prog_name="yak")
    except SystemExit as exit_:
        end(exit_)


def end(exit_: SystemExit) -> NoReturn:
    """End this process. Raise ``exit_`` if threads still run or the exit code is a message.

    The end of the interpreter would free all objects that were imported before the fork, and copy
    their pages first. That takes longer than most commands.
    """
    if threading.active_count() > 1 or isinstance(exit_.code, str):
        raise exit_
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(exit_.code or 0)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
