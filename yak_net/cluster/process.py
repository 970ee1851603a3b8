"""The process of one broker: start, signals and end; its log file.

A process that has ended is not restarted automatically.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from yak_net.cluster.errors import ClusterError, start_errors
from yak_net.cluster.link_channel import LinkChannel
from yak_net.cluster.status import State

POLL_S: Final = 0.1


class BrokerProcess:
    """The process of the broker ``node``, which may be down.

    ``command`` and ``env`` are the command line and the environment, ``log`` is the file to which
    the output is appended, ``lifeline`` is a file descriptor that the process inherits. ``on_end``
    is called after each end, with the process id.
    """

    def __init__(
        self,
        node: str,
        command: tuple[str, ...],
        env: Mapping[str, str],
        log: Path,
        lifeline: int,
        on_end: Callable[[BrokerProcess, int], None],
    ) -> None:
        self.node = node
        self.log = log
        self.state = State.DOWN
        #: Why the process is down; empty while it runs or is paused.
        self.down_reason = f"{node} is not started yet"
        #: How the supervisor ended the process: "stopped", "killed", or empty.
        self.ended_by = ""
        #: Held during each start and end of the process.
        self.lock = asyncio.Lock()
        self._command = command
        self._env = {**env, "YAK_LIFELINE": str(lifeline)}
        #: The faults on the links of the broker, for its link gate.
        self._links: list[dict[str, Any]] = []
        self._channel: LinkChannel | None = None
        self._lifeline = lifeline
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None while the process is down."""
        return None if self.state is State.DOWN or self._process is None else self._process.pid

    async def start(self) -> int:
        """Start the process; return the process id. Raises CannotStart."""
        assert self.state is State.DOWN
        self.ended_by = ""
        try:
            with start_errors(f"start {self.node}: {self._command[0]}"), self.log.open("ab") as out:
                since = out.tell()
                self._process = await self._spawn(out)
        except BaseException:
            self._close_channel()
            raise
        self.state, self.down_reason = State.RUNNING, ""
        self._ended = asyncio.create_task(self._watch(self._process, since))
        return self._process.pid

    async def _spawn(self, out: IO[bytes]) -> asyncio.subprocess.Process:
        self._channel = channel = LinkChannel()
        channel.send_first(self._links)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env={**self._env, "YAK_LINK_GATE": str(channel.child)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # So that Ctrl-C in the terminal reaches only the supervisor.
            start_new_session=True,
            pass_fds=(self._lifeline, channel.child),
        )
        channel.close_child()
        return process

    async def _watch(self, process: asyncio.subprocess.Process, since: int) -> None:
        code = await process.wait()
        self.state = State.DOWN
        self._close_channel()
        if self.ended_by:
            self.down_reason = (
                f"{self.node} was {self.ended_by}; start it with yak cluster restart {self.node}"
            )
        else:
            end = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
            message = last_line(self.log, since).removeprefix("yak broker: ")
            self.down_reason = f"{self.node} (pid {process.pid}) ended with {end}"
            self.down_reason += message and f": {message}"
        self._on_end(self, process.pid)

    async def set_links(self, links: list[dict[str, Any]]) -> bool:
        """Set the faults on the links of the broker; return whether it applies them now.

        A broker that is down or paused applies them when it runs.
        """
        self._links = links
        return self._channel is not None and await self._channel.send(links)

    def _close_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def request_stop(self) -> None:
        """Send SIGTERM, only once: a broker exits at once after the second SIGTERM."""
        if self.state is State.DOWN or self.ended_by:
            return
        self.ended_by = "stopped"
        self._send(signal.SIGTERM)
        # In each state, because another process may have paused the broker.
        self._send(signal.SIGCONT)

    async def stop(self, within_s: float) -> bool:
        """Stop the process; kill it after ``within_s``. Return whether it stopped cleanly."""
        self.request_stop()
        if self._ended is None or self._process is None:
            return True
        await asyncio.wait((self._ended,), timeout=within_s)
        await self.kill()
        # A broker that has not installed its SIGTERM handler yet has not written anything.
        return self._process.returncode in (0, -signal.SIGTERM)

    def kill_now(self) -> None:
        """Send SIGKILL without waiting for the end. Has no effect while the process is down."""
        if self.state is not State.DOWN:
            self.ended_by = "killed"
            self._send(signal.SIGKILL)

    async def kill(self) -> None:
        """Send SIGKILL and wait until the process has ended."""
        self.kill_now()
        if self._ended is not None:
            await asyncio.wait((self._ended,))

    def pause(self) -> None:
        """Send SIGSTOP. Raises ClusterError if the process is down."""
        if self.state is State.DOWN:
            raise ClusterError(
                f"cannot pause {self.node}: it is down; start it with yak cluster restart "
                f"{self.node}"
            )
        self._send(signal.SIGSTOP)
        self.state = State.PAUSED

    def resume(self) -> None:
        """Send SIGCONT. Raises ClusterError if the process is down."""
        if self.state is State.DOWN:
            raise ClusterError(
                f"cannot resume {self.node}: it is down; start it with yak cluster restart "
                f"{self.node}"
            )
        self._send(signal.SIGCONT)
        self.state = State.RUNNING

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            self._process.send_signal(number)
        except ProcessLookupError:
            # The process has just ended; the task _watch() updates the state.
            return


# -- the log ---------------------------------------------------------------------------------------


def log_path(folder: Path, node: str) -> Path:
    """Return the file of a broker's output. It is outside of the data directory of the broker."""
    return folder / f"{node}.log"


def tail(path: Path, lines: int, since: int = 0) -> list[str]:
    """Return the last ``lines`` of a log after the byte ``since``; none if it is not readable."""
    return [_text(line) for line in deque(_lines(path, since), lines)]


def last_line(path: Path, since: int = 0) -> str:
    """Return the last line that is not blank; empty if there is none."""
    return next((line.strip() for line in reversed(tail(path, 20, since)) if line.strip()), "")


def read_logs(
    logs: Mapping[str, Path],
    lines: int | None,
    *,
    follow: bool,
    ended: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, str]]:
    """Yield (node, line): the last ``lines`` lines of each log, or all lines for None.

    With ``follow``, continue until ``ended`` and yield each complete line that is added.
    """
    ends = dict.fromkeys(logs, 0)
    for node, path in logs.items():
        found = _lines(path, 0)
        ends[node] = sum(map(len, found))
        for line in deque(found, lines):
            yield node, _text(line)
    while follow and not ended():
        for node, path in logs.items():
            for line in _lines(path, ends[node]):
                if line.endswith(b"\n"):
                    ends[node] += len(line)
                    yield node, _text(line)
        time.sleep(POLL_S)


def _lines(path: Path, since: int) -> list[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(since)
            return file.readlines()
    except OSError:
        return []


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")
