"""Ends brokers whose supervisor is gone; must never act while the supervisor's end is open.

A program of its own, of the standard library alone. A broker stops by itself when its lifeline
ends, unless somebody has stopped (SIGSTOP) or it hangs. So this program lets each of them continue
and kills what is still there after a while. It learns of them on its standard input: ``+PID`` and
``-PID``, a line each. The end of that input is the end of the supervisor, however it came about.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Final

GRACE_S: Final = 20.0
"""A broker gives itself ten seconds to stop."""
LOOK_S: Final = 0.05


class Watched:
    """A process that can be signalled without hitting another one that got its number later."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = -1
        if sys.platform == "linux":
            with suppress(OSError):  # a kernel before 5.3, or the process is gone
                self._fd = os.pidfd_open(pid)

    def send(self, number: int) -> bool:
        """Send a signal, 0 to look only; False when the process has ended."""
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
        """Give the handle back."""
        if self._fd >= 0:
            os.close(self._fd)


def main(grace_s: float) -> None:
    """Listen until the supervisor is gone, then see to it that its brokers go as well."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, Watched] = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            watched[pid] = Watched(pid)
        elif pid in watched:
            watched.pop(pid).close()
    end(list(watched.values()), grace_s)


def end(watched: list[Watched], grace_s: float) -> None:
    """Let them continue, wait for their end, and kill those that do not end."""
    deadline = time.monotonic() + grace_s
    left = [each for each in watched if each.send(signal.SIGCONT)]
    while left and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        # Again and again, for it may be stopped now.
        left = [each for each in left if each.send(signal.SIGCONT)]
    for each in left:
        each.send(signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else GRACE_S)
