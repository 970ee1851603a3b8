"""One cluster from its start to its stop, in this process: lock, state file, commands, signals.

Must never leave a broker, a state file or a lock behind, however it ends. What there is to say goes
to a ``Tell``, so that it is the same on a terminal and from a process without one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from yak_net.cluster import CannotStart, ClusterError, must
from yak_net.cluster.control import ControlServer
from yak_net.cluster.metadata import NAME, remarks
from yak_net.cluster.process import tail
from yak_net.cluster.signals import Signals
from yak_net.cluster.statefile import ClusterState, InUse, lock_path, take_lock, write_state
from yak_net.cluster.supervisor import ClusterSpec, Supervisor

LINE: Final = "line"
"""A line of the result, for standard output."""
REMARK: Final = "remark"
READY: Final = "ready"
"""The last line of the result: who leads."""
FAILED: Final = "failed"

Tell = Callable[[str, str], None]
"""Takes one of the four words above, and a text."""

EXIT_FAILED: Final = 1
EXIT_WRONG: Final = 2
TAIL_LINES: Final = 8
LOCK_TRIES: Final = 10
LOCK_RETRY_S: Final = 0.05


async def run_cluster(spec: ClusterSpec, path: Path, tell: Tell, within_s: float) -> int:
    """Run a cluster until a signal or ``yak cluster down``; the exit code.

    0 after it served, 1 it did not come up, 2 it cannot be started so, 128 and the number of the
    signal that ended the start. The lock of the state file is not given back: the end of this
    process does that, so that whoever waits for it waits for the end of everything.
    """
    with Signals() as signals:
        try:
            await _lock(path)
        except ClusterError as error:
            return _failed(error, tell)
        try:
            return await _Run(spec, path, tell, within_s, signals).run()
        finally:
            _remove(path)


class _Run:
    """What the parts of one run share."""

    def __init__(
        self, spec: ClusterSpec, path: Path, tell: Tell, within_s: float, signals: Signals
    ) -> None:
        self.spec = spec
        self.path = path
        self.tell = tell
        self.within_s = within_s
        self.signals = signals
        self.token = secrets.token_urlsafe(32)
        self.supervisor = Supervisor(spec, lambda sentence: tell(REMARK, sentence))
        self.control = ControlServer(self.supervisor, self.token, signals.ask)

    async def run(self) -> int:
        signals, supervisor = self.signals, self.supervisor
        signals.on_hurry = supervisor.hurry
        starting = asyncio.create_task(self._start())
        code = 0
        try:
            if await signals.outlasted_by(starting):
                starting.result()
                await signals.asked.wait()
                self.tell(REMARK, "stopping the brokers")
            else:
                code = signals.exit_code if signals.number else EXIT_FAILED
                self.tell(REMARK, "interrupted before a leader served: stopping the brokers")
        except ClusterError as error:
            code = _failed(error, self.tell, self._advice())
        finally:
            await self.control.close()
            await supervisor.close()
        if not code and not supervisor.stopped_cleanly:
            self.tell(REMARK, "a broker did not stop in good order, or had to be killed")
        return code

    async def _start(self) -> None:
        supervisor, tell = self.supervisor, self.tell
        await supervisor.open()
        self._write_state(await self.control.start())
        await supervisor.start_all()
        pids = supervisor.pids
        for node, url in supervisor.urls.items():
            tell(LINE, f"{node}  {url}  pid {pids.get(node, 'none')}")
        await self._tell_metadata()
        status = await supervisor.wait_until_ready(self.within_s)
        tell(READY, f"leader {status.leader}, epoch {status.epoch}")

    def _write_state(self, control: str) -> None:
        supervisor = self.supervisor
        state = ClusterState(
            cluster=self.spec.cluster,
            supervisor=os.getpid(),
            control=control,
            token=self.token,
            brokers=tuple(supervisor.urls.items()),
            bootstrap_servers=supervisor.bootstrap_servers,
            redis_url=supervisor.redis_url,
            data_dir=str(self.spec.data),
            log_dir=str(self.spec.logs),
        )
        with must(f"write {self.path}"):
            write_state(self.path, state)

    async def _tell_metadata(self) -> None:
        spec = self.spec
        if spec.redis_url:
            self.tell(REMARK, f"metadata: the Redis at {_without_password(spec.redis_url)}")
            for remark in await remarks(spec.redis_url, spec.cluster):
                self.tell(REMARK, remark)
            return
        where = spec.data / NAME
        self.tell(REMARK, f"metadata: embedded, not durable (a stop saves it to {where})")
        if self.supervisor.note:
            self.tell(REMARK, self.supervisor.note)

    def _advice(self) -> str:
        """What the brokers logged last: the one that ended, or each if nobody has."""
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
                f"{supervisor.note}, so a later change of it may be missing: if brokers halt "
                f"because of that, give another --data-dir, or delete {self.spec.data} if you need "
                "nothing of it"
            )
        return "\n".join(said)


async def _lock(path: Path) -> None:
    """Take the lock of a state file. Raises ClusterError when a cluster runs there."""
    tries = 0
    while True:
        try:
            with must(f"write {lock_path(path)}"):
                take_lock(lock_path(path))
            return
        except InUse as busy:
            # A command may be looking, for a moment, whether the lock is free.
            tries += 1
            if tries == LOCK_TRIES:
                who = f", process {busy.holder}" if busy.holder else ""
                raise ClusterError(
                    f"a cluster runs here already (its supervisor{who}; {path}): see yak cluster "
                    "status, or stop it with yak cluster down"
                ) from None
        await asyncio.sleep(LOCK_RETRY_S)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _failed(error: ClusterError, tell: Tell, advice: str = "") -> int:
    if advice:
        tell(REMARK, advice)
    tell(FAILED, str(error))
    return EXIT_WRONG if isinstance(error, CannotStart) else EXIT_FAILED


def _without_password(url: str) -> str:
    """An address that may be shown."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
