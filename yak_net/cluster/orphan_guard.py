"""A guard process that ends brokers whose supervisor is gone, and the client that starts it.

A broker stops by itself when its lifeline ends, unless it is stopped (SIGSTOP) or hangs. The guard
lets each of them continue, and kills after a grace period what is still there. It never acts while
the supervisor lives: it reads ``+PID`` and ``-PID`` lines, and the end of its input is the end of
the supervisor, however that came about. This file runs as a program, isolated from the rest, so it
imports the standard library alone.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

GRACE_S: Final = 20.0
"""A broker gives itself ten seconds to stop."""
END_S: Final = 5.0
LOOK_S: Final = 0.05


class OrphanGuard:
    """A running guard. If it was killed, calls have no effect; brokers keep their lifeline."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def watch(self, pid: int) -> None:
        """Add a process that must not outlive the supervisor."""
        self._write(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """Remove a process that has ended."""
        self._write(f"-{pid}\n")

    def close(self) -> None:
        """Wait for the guard to end, which ends the processes that it still watches."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())


class Watched:
    """A process that can be signalled without hitting another one that got its id later."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = -1
        if sys.platform == "linux":
            with suppress(OSError):  # a kernel before 5.3, or the process is gone
                self._fd = os.pidfd_open(pid)

    def send(self, number: int) -> bool:
        """Send a signal; return False when the process has ended."""
        try:
            if sys.platform == "linux" and self._fd >= 0:
                signal.pidfd_send_signal(self._fd, number)
                # A child of a parent that does not wait for it can be signalled when it has ended.
                return not select.select([self._fd], [], [], 0)[0]
            os.kill(self.pid, number)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the handle."""
        if self._fd >= 0:
            os.close(self._fd)


def main() -> None:
    """Read which brokers run until the supervisor is gone, then end those that are left."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, Watched] = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            watched[pid] = Watched(pid)
        elif pid in watched:
            watched.pop(pid).close()
    end(list(watched.values()), GRACE_S)


def end(watched: list[Watched], grace_s: float) -> None:
    """Let the processes continue, wait for their end, and kill those that do not end."""
    deadline = time.monotonic() + grace_s
    # SIGCONT is repeated, since a process may be stopped in the meantime.
    while watched := [each for each in watched if each.send(signal.SIGCONT)]:
        if time.monotonic() > deadline:
            for each in watched:
                each.send(signal.SIGKILL)
            return
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
