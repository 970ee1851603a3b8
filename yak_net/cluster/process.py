"""One broker's process over all its lives: start, signals, end; must never restart by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from yak_net.cluster import CannotStart, ClusterError
from yak_net.cluster.logs import last_words
from yak_net.cluster.status import DOWN, PAUSED, RUNNING


@dataclass(frozen=True)
class Ended:
    """The end of a process: its exit code, or minus the number of the signal that killed it."""

    node: str
    pid: int
    code: int
    last_words: str

    def __str__(self) -> str:
        how = f"exit code {self.code}" if self.code >= 0 else _signal_name(-self.code)
        words = self.last_words.removeprefix("yak broker: ")
        return f"{self.node} (process {self.pid}) ended with {how}{words and f': {words}'}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class BrokerProcess:
    """The process of ``node``, which may be down.

    ``command`` and ``env`` are all it is started with, ``log`` is what its output is appended to,
    ``lifeline`` a descriptor that it inherits. ``on_end`` is told of each end, and whether we had
    asked for it.
    """

    def __init__(
        self,
        node: str,
        command: tuple[str, ...],
        env: Mapping[str, str],
        log: Path,
        lifeline: int,
        on_end: Callable[[Ended, bool], None],
    ) -> None:
        self.node = node
        self.log = log
        self.state = DOWN
        self.why = f"{node} is not started yet"
        """Why it is down, a sentence; empty while it is not."""
        self.lock = asyncio.Lock()
        """Held by whoever starts or ends it."""
        self._command = command
        self._env = env
        self._lifeline = lifeline
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[None] | None = None
        self._asked = ""

    @property
    def pid(self) -> int | None:
        """The process id, None while it is down."""
        return None if self.state == DOWN or self._process is None else self._process.pid

    async def start(self) -> int:
        """Start it, and return the process id. Raises CannotStart."""
        assert self.state == DOWN
        self._asked = ""
        try:
            with self.log.open("ab") as out:
                since = out.tell()
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env={**self._env, "YAK_LIFELINE": str(self._lifeline)},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C in the terminal is for the supervisor alone.
                    start_new_session=True,
                    pass_fds=(self._lifeline,),
                )
        except OSError as error:
            what = error.filename or self._command[0]
            raise CannotStart(f"cannot start {self.node}: {what}: {error.strerror}") from error
        self.state, self.why = RUNNING, ""
        self._ended = asyncio.create_task(self._watch(self._process, since))
        return self._process.pid

    async def _watch(self, process: asyncio.subprocess.Process, since: int) -> None:
        code = await process.wait()
        ended = Ended(self.node, process.pid, code, last_words(self.log, since))
        self.state = DOWN
        self.why = f"{self.node} was {self._asked}" if self._asked else str(ended)
        self._on_end(ended, bool(self._asked))

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once: a broker takes a second one as an order to stop ungracefully."""
        if self.state == DOWN or self._asked:
            return
        self._asked = "stopped"
        self._send(signal.SIGTERM)
        # Also where we have not stopped it ourselves: somebody else may have.
        self._send(signal.SIGCONT)

    async def stop(self, within_s: float) -> bool:
        """Stop it gracefully, or kill it when that takes too long; whether it was in good order."""
        self.ask_to_stop()
        if not await self._wait(within_s):
            await self.kill()
        # One that has only just been started dies of SIGTERM, before it has touched anything.
        return self._process is None or self._process.returncode in (0, -signal.SIGTERM)

    def kill_now(self) -> None:
        """Send SIGKILL without waiting for the end; nothing if it is down."""
        if self.state != DOWN:
            self._asked = "killed"
            self._send(signal.SIGKILL)

    async def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone."""
        self.kill_now()
        await self._wait(None)

    def pause(self) -> None:
        """Send SIGSTOP: it stands still until it may continue."""
        if self.state == DOWN:
            raise ClusterError(f"{self.node} is down, so it cannot be paused: restart it first")
        self._send(signal.SIGSTOP)
        self.state = PAUSED

    def resume(self) -> None:
        """Send SIGCONT."""
        if self.state == DOWN:
            raise ClusterError(f"{self.node} is down, so it cannot continue: restart it instead")
        self._send(signal.SIGCONT)
        self.state = RUNNING

    async def _wait(self, within_s: float | None) -> bool:
        if self._ended is None:
            return True
        done, _ = await asyncio.wait((self._ended,), timeout=within_s)
        return bool(done)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            self._process.send_signal(number)
        except ProcessLookupError:
            # It has just ended, and the task that waits for it is about to say so.
            return


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what would configure a broker, and with ``extra``."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("YAK_")}
    return {**ours, **extra}
