"""The supervisor's end of the guard: starts it and tells it of brokers; must never outlive it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from yak_net.cluster import orphan_guard
from yak_net.cluster.errors import CannotStart
from yak_net.cluster.process import environment

END_S: Final = 5.0


class Guard:
    """The running guard. What it is told after it was killed is lost, and nobody is harmed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls) -> Guard:
        """Start the guard of one supervisor. Raises CannotStart."""
        try:
            process = subprocess.Popen(
                # Isolated and without site, for it needs nothing and should be there at once.
                [sys.executable, "-I", "-S", str(Path(orphan_guard.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment({}),
                start_new_session=True,
            )
        except OSError as error:
            raise CannotStart(f"cannot start {sys.executable}: {error.strerror}") from error
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def watch(self, pid: int) -> None:
        """This broker runs."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """This broker has ended."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """End it; whatever it still watches is let continue, and then killed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            # Somebody has killed it; the brokers still have their lifeline.
            self._process.wait()
            return
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            # As above.
            return
