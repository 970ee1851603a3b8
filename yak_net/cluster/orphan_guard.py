"""Guard process that ends the brokers of a dead supervisor, and the client that starts the guard.

A broker stops by itself when its lifeline pipe closes, unless the broker is paused (SIGSTOP) or
hangs. The guard sends SIGCONT to the remaining brokers, and SIGKILL after a grace period. It reads
``+PID`` and ``-PID`` lines from the supervisor. The end of its input means that the supervisor has
ended; the guard sends no signal before that. This file also runs as a program, isolated from the
package, so it imports only the standard library.
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
"""Time limit for brokers to stop; a broker limits its own shutdown to ten seconds."""
END_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.05


class OrphanGuard:
    """A running guard process. If it was killed, the calls have no effect."""

    def __init__(self) -> None:
        """Start the guard process. Raises OSError."""
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
        """Add a process that the guard ends after the supervisor has ended."""
        self._write(f"+{pid}\n")

    def unwatch(self, pid: int) -> None:
        """Remove a process that has ended."""
        self._write(f"-{pid}\n")

    def close(self) -> None:
        """Close the input of the guard and wait until it has ended.

        The guard first ends the processes that it still watches.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())


class WatchedProcess:
    """A process to signal. On Linux a pidfd prevents signals to a process that reuses the id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = -1
        if sys.platform == "linux":
            with suppress(OSError):  # a kernel before 5.3, or the process has ended
                self._fd = os.pidfd_open(pid)

    def send(self, number: int) -> bool:
        """Send a signal; return False if the process has ended."""
        try:
            if sys.platform == "linux" and self._fd >= 0:
                signal.pidfd_send_signal(self._fd, number)
                # A zombie accepts signals too, so check that the process has not ended.
                return not select.select([self._fd], [], [], 0)[0]
            os.kill(self.pid, number)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the pidfd."""
        if self._fd >= 0:
            os.close(self._fd)


def main() -> None:
    """Read process ids until the supervisor has ended, then end the remaining processes."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, WatchedProcess] = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            watched[pid] = WatchedProcess(pid)
        elif pid in watched:
            watched.pop(pid).close()
    end(list(watched.values()), GRACE_S)


def end(watched: list[WatchedProcess], grace_s: float) -> None:
    """Send SIGCONT to the processes, wait until they end, and kill the rest after ``grace_s``."""
    deadline = time.monotonic() + grace_s
    # SIGCONT is repeated, because another process may send SIGSTOP again.
    while watched := [each for each in watched if each.send(signal.SIGCONT)]:
        if time.monotonic() > deadline:
            for each in watched:
                each.send(signal.SIGKILL)
            return
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
