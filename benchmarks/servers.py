"""Processes of the servers of a peer: they run in one temporary folder, and all end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from yak_net.cluster.orphan_guard import OrphanGuard

HOST: Final = "127.0.0.1"
END_S: Final = 5.0
ROOT: Final = Path(__file__).resolve().parents[1]


class Servers:
    """The running servers of :func:`servers`; ``folder`` is for their files."""

    def __init__(self, folder: Path, guard: OrphanGuard) -> None:
        self.folder = folder
        self._guard = guard  # kills the servers if this process is killed
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a server without input and output. Raise OSError."""
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._running.append(process)
        self._guard.watch(process.pid)
        return process

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to all servers, the latest first, and wait until they have ended."""
        for process in reversed(self._running):
            process.send_signal(number)
        while self._running:
            process = self._running[-1]
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S)
            self._running.pop()
            self._guard.unwatch(process.pid)


@contextmanager
def servers(prefix: str, end_signal: int = signal.SIGTERM) -> Iterator[Servers]:
    """Make a folder for servers, and end them with ``end_signal`` afterwards."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
        guard = OrphanGuard()
        stack.callback(guard.close)
        found = Servers(Path(folder), guard)
        stack.callback(found.end, end_signal)
        yield found


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports that were free just now, for servers that cannot choose a free port."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return tuple(probe.getsockname()[1] for probe in probes)


def module_command(name: str) -> tuple[str, ...]:
    """Return the words that start a module of the benchmarks, in any folder.

    An installation does not have them: they are in the checkout only.
    """
    text = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); "
        f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    )
    return (sys.executable, "-P", "-c", text)


def clean_environment(**variables: str) -> dict[str, str]:
    """Return an environment of PATH and these variables only."""
    return {"PATH": os.environ.get("PATH", os.defpath), **variables}
