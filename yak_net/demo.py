"""The part of ``yak demo`` with real brokers: three processes, one of which gets a SIGKILL.

It prints each event and returns the records that were read. The caller compares them with the
input. Each broker records a trace of its events and effects, which the caller replays.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from yak_core.ids import Epoch, NodeId, Offset
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.producer import Producer, Resolved
from yak_net.cluster.cli_common import CommandLineError
from yak_net.cluster.spec import ClusterSpec
from yak_net.cluster.supervisor import Supervisor
from yak_net.runtime.state_file import is_alive

FOLDER: Final = "real_failover"
NODES: Final = 3
RATE_PER_S: Final = 1_000
SEND_S_MAX: Final = 4.0
"""Maximum time for sending: longer inputs are sent at a higher rate than RATE_PER_S."""
TIMEOUT_S: Final = 20.0
SETTLE_S: Final = 0.2
POLL_S: Final = 0.05
LOOP_TURNS: Final = 4
"""Iterations of the event loop until an accepted record has left the process."""

PrintLine = Callable[[str], None]


class DemoFailed(Exception):
    """The cluster did not behave as expected."""


@dataclass
class RealRun:
    """Result of the run: the values read, and the facts about the failover.

    ``confirmed`` and ``unconfirmed`` count the records at the kill of the leader ``killed``.
    ``gap_s`` is the time from the kill to the first confirmation after it. ``leaderships`` has one
    (epoch, leader, first offset, end offset) per leader epoch of the records read. ``traces`` are
    the trace files of the brokers, ``pids`` the ids of all processes that were started.
    """

    read: list[bytes | None] = field(default_factory=list)
    killed: NodeId = ""
    confirmed: int = 0
    unconfirmed: int = 0
    gap_s: float = 0.0
    leaderships: list[tuple[Epoch, NodeId, Offset, Offset]] = field(default_factory=list)
    traces: list[Path] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    @property
    def running_pids(self) -> list[int]:
        """The ids of the processes that still run."""
        return [pid for pid in self.pids if is_alive(pid)]


def make_folder(out: Path) -> Path:
    """Return an empty folder for the traces, logs and data; delete those of the previous run.

    Raises CommandLineError.
    """
    folder = out / FOLDER
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandLineError(f"cannot write the output folder {folder}: {reason}") from error
    return folder


class _EventLog:
    """Prints the events with their times, and keeps the results of the batches."""

    def __init__(self, print_line: PrintLine) -> None:
        self.started_at = time.monotonic()
        self.print_line = print_line
        self.confirmed_at: list[float] = []
        self.failed: Resolved | None = None
        self.leaders: dict[Epoch, NodeId] = {}

    def log(self, what: str) -> None:
        self.print_line(f"t={time.monotonic() - self.started_at:.3f}s {what}")

    def on_batch(self, batch: Resolved) -> None:
        if batch.error is None:
            self.confirmed_at.append(time.monotonic())
        else:
            self.failed = batch


async def run_real(lines: Sequence[bytes], folder: Path, print_line: PrintLine) -> RealRun:
    """Send the lines, kill the leader while records are in flight, and read the records back.

    The traces of the brokers are written to ``folder``. Raises DemoFailed. No process is left
    running, also after an error.
    """
    run = RealRun()
    events = _EventLog(print_line)
    spec = ClusterSpec(nodes=NODES, data_dir=folder / "data", trace_dir=folder)
    async with Supervisor(spec) as cluster:
        events.log("metadata store: embedded, not durable")
        for node, url in cluster.urls.items():
            events.log(f"{node} listens on {url}, pid {cluster.pids[node]}")
        await _wait_for_leader(cluster, events)
        await _wait_for_full_isr(cluster)
        await _send_and_kill_leader(cluster, lines, run, events)
        await _restart_killed(cluster, run, events)
        records = await _read_all(cluster, events)
    run.pids = cluster.started_pids
    run.read = [record.value for record in records]
    for epoch, group in groupby(records, key=lambda record: record.leader_epoch):
        offsets = [record.offset for record in group]
        run.leaderships.append((epoch, events.leaders.get(epoch, "?"), offsets[0], offsets[-1] + 1))
    run.traces = await asyncio.to_thread(lambda: sorted(folder.glob("*.jsonl")))
    return run


async def _wait_for_leader(cluster: Supervisor, events: _EventLog, excluded: NodeId = "") -> NodeId:
    """Wait for a ready leader other than ``excluded``; print it if its epoch is new. Return it."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            status = await cluster.status()
            if status.serves and status.leader is not None and status.leader != excluded:
                break
            await asyncio.sleep(POLL_S)
    assert status.epoch is not None
    if status.epoch not in events.leaders:
        events.leaders[Epoch(status.epoch)] = status.leader
        events.log(f"leader {status.leader}, epoch {status.epoch}")
    return status.leader


async def _send_and_kill_leader(
    cluster: Supervisor, lines: Sequence[bytes], run: RealRun, events: _EventLog
) -> None:
    """Send all lines. After half of them, while records are unconfirmed, kill the leader."""
    rate = max(RATE_PER_S, len(lines) / SEND_S_MAX)
    leader = await _wait_for_leader(cluster, events)
    servers = cluster.bootstrap_servers
    async with Producer(servers, linger_ms=0, on_batch=events.on_batch) as producer:
        started_at = time.monotonic()
        events.log(f"sending {len(lines)} records, {rate:.0f}/s, acks=all, idempotent producer")
        killed_at = 0.0
        for number, line in enumerate(lines, 1):
            await asyncio.sleep(max(0.0, started_at + number / rate - time.monotonic()))
            await producer.send(line)
            if killed_at or 2 * number < len(lines):
                continue
            if not producer.confirmed and number < len(lines):
                await producer.flush()  # a slow machine: the kill needs some confirmed records
            elif await _is_in_flight(producer):
                run.killed, run.confirmed = leader, producer.confirmed
                run.unconfirmed = producer.unresolved
                killed_at = time.monotonic()
                # kill() sends the signal before it suspends, so the counts stay correct.
                pid = await cluster.kill(leader)
                events.log(
                    f"SIGKILL to {leader}, pid {pid}: "
                    f"{run.confirmed} records confirmed, {run.unconfirmed} in flight"
                )
        if not killed_at:
            raise DemoFailed(
                "no record was in flight, so the leader was not killed; run the demo again"
            )
        new_leader = asyncio.create_task(_wait_for_leader(cluster, events, excluded=leader))
        await producer.flush()
        await new_leader
    if events.failed is not None:
        raise DemoFailed(f"{events.failed.count} records were not confirmed: {events.failed.error}")
    # Confirmations that arrived before the kill may be processed up to SETTLE_S later.
    first = next((at for at in events.confirmed_at if at > killed_at + SETTLE_S), None)
    if first is None:
        raise DemoFailed("all records were confirmed without a failover; run the demo again")
    run.gap_s = first - killed_at
    events.log(
        f"all {producer.confirmed} records confirmed; "
        f"first confirmation {run.gap_s:.1f} s after SIGKILL"
    )


async def _is_in_flight(producer: Producer) -> bool:
    """Let the accepted records leave this process; return whether any is unresolved then."""
    for _ in range(LOOP_TURNS):
        await asyncio.sleep(0)
    return producer.unresolved > 0


async def _wait_for_full_isr(cluster: Supervisor) -> tuple[NodeId, ...]:
    """Wait until the ISR contains all brokers; return the ISR."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            status = await cluster.status()
            if len(status.isr) == len(cluster.urls):
                return status.isr
            await asyncio.sleep(POLL_S)


async def _restart_killed(cluster: Supervisor, run: RealRun, events: _EventLog) -> None:
    """Restart the killed broker and wait until it is in the ISR."""
    pid = await cluster.restart(run.killed)
    isr = ", ".join(await _wait_for_full_isr(cluster))
    events.log(f"{run.killed} restarted, pid {pid}, and rejoined the ISR: {isr}")


async def _read_all(cluster: Supervisor, events: _EventLog) -> list[ConsumerRecord]:
    """Return all records from the beginning to the committed end."""
    servers = cluster.bootstrap_servers
    records: list[ConsumerRecord] = []
    async with Consumer(servers, auto_offset_reset="earliest") as consumer:
        end = await consumer.end_offset()
        async with asyncio.timeout(TIMEOUT_S):
            while await consumer.position() < end:
                records += await consumer.getmany(timeout_ms=1000)
    events.log(f"a consumer read {len(records)} records from the beginning")
    return records
