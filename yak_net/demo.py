"""The real half of ``yak demo``: three processes, a SIGKILL, every line once; must never compare.

It tells what happens as it happens, and returns what came out; whether that is right is for the
caller to say. Every broker records its events and effects, so that the caller can replay them.
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

import click

from yak_core.ids import Epoch, NodeId, Offset
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.producer import Producer, Resolved
from yak_net.cluster.supervisor import ClusterSpec, Supervisor
from yak_net.runtime.state_file import is_alive

FOLDER: Final = "real_failover"
NODES: Final = 3
RATE_PER_S: Final = 1_000
SENDING_S: Final = 4.0
"""Long inputs go faster than the rate, so that sending takes about so long."""
PATIENCE_S: Final = 20.0
SETTLE_S: Final = 0.2
LOOK_S: Final = 0.05
TURNS: Final = 4
"""Of the event loop, until a record that was sent is on its way: a few, and no time to speak of."""

Say = Callable[[str], None]


class DemoFailed(Exception):
    """The cluster did not do what it is there for; one sentence."""


@dataclass
class RealRun:
    """What happened. ``unconfirmed`` counts records under way when the leader was killed.

    ``gap_s`` is the time from the kill to the first confirmation after it. ``led`` are (epoch,
    leader, first offset, end) of what was read. ``traces`` are the brokers' files, ``pids`` all
    processes that there were.
    """

    read: list[bytes | None] = field(default_factory=list)
    killed: NodeId = ""
    confirmed: int = 0
    unconfirmed: int = 0
    gap_s: float = 0.0
    led: list[tuple[Epoch, NodeId, Offset, Offset]] = field(default_factory=list)
    traces: list[Path] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    @property
    def left_behind(self) -> list[int]:
        """Those of the processes that still run."""
        return [pid for pid in self.pids if is_alive(pid)]


def make_folder(out: Path) -> Path:
    """An empty folder for the traces, logs and data of a run; the last run's are removed.

    Raises click's errors.
    """
    folder = out / FOLDER
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        why = error.strerror or str(error)
        raise Wrong(f"the output folder {folder} cannot be written: {why}") from error
    return folder


class Wrong(click.ClickException):
    """The command line is wrong: one sentence, exit code 2."""

    exit_code = 2


class _Story:
    """The clock of the story, and the fate of each record."""

    def __init__(self, say: Say) -> None:
        self.began = time.monotonic()
        self.say = say
        self.confirmed_at: list[float] = []
        self.failed: Resolved | None = None
        self.leaders: dict[Epoch, NodeId] = {}

    def tell(self, what: str) -> None:
        self.say(f"t={time.monotonic() - self.began:.3f}s {what}")

    def on_batch(self, batch: Resolved) -> None:
        if batch.error is None:
            self.confirmed_at.append(time.monotonic())
        else:
            self.failed = batch


async def run_real(lines: Sequence[bytes], folder: Path, say: Say) -> RealRun:
    """Send the lines through the failure of a real leader and read them back.

    The brokers' traces go into ``folder``. Raises DemoFailed; whatever happens, no process is left.
    """
    run = RealRun()
    story = _Story(say)
    spec = ClusterSpec(nodes=NODES, data_dir=folder / "data", trace_dir=folder)
    async with Supervisor(spec) as cluster:
        story.tell("metadata in this process: not durable, and nothing to install")
        for node, url in cluster.urls.items():
            story.tell(f"{node} listens at {url}, process {cluster.pids[node]}")
        await _note_leader(cluster, story)
        await _all_in_sync(cluster)
        await _send_through_a_failure(cluster, lines, run, story)
        await _bring_back(cluster, run, story)
        records = await _read_back(cluster, story)
    run.pids = cluster.started_pids
    run.read = [record.value for record in records]
    for epoch, held in groupby(records, key=lambda record: record.leader_epoch):
        offsets = [record.offset for record in held]
        run.led.append((epoch, story.leaders.get(epoch, "?"), offsets[0], offsets[-1] + 1))
    run.traces = await asyncio.to_thread(lambda: sorted(folder.glob("*.jsonl")))
    return run


async def _note_leader(cluster: Supervisor, story: _Story, besides: NodeId = "") -> NodeId:
    """Wait until somebody leads, and tell who; ``besides`` is the one who is dead."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = await cluster.status()
            if status.serves and status.leader is not None and status.leader != besides:
                break
            await asyncio.sleep(LOOK_S)
    assert status.epoch is not None
    if status.epoch not in story.leaders:
        story.leaders[Epoch(status.epoch)] = status.leader
        story.tell(f"{status.leader} leads epoch {status.epoch}")
    return status.leader


async def _send_through_a_failure(
    cluster: Supervisor, lines: Sequence[bytes], run: RealRun, story: _Story
) -> None:
    """Send all lines; at half of them, with some unconfirmed, the leader dies."""
    rate = max(RATE_PER_S, len(lines) / SENDING_S)
    leader = await _note_leader(cluster, story)
    servers = cluster.bootstrap_servers
    async with Producer(servers, linger_ms=0, on_batch=story.on_batch) as producer:
        began = time.monotonic()
        story.tell(f"sends {len(lines)} records, {rate:.0f}/s, acks=all, idempotent")
        killed_at = 0.0
        for number, line in enumerate(lines, 1):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await producer.send(line)
            if killed_at or 2 * number < len(lines):
                continue
            if not producer.confirmed and number < len(lines):
                await producer.flush()  # The machine is slow, and a part should be confirmed.
            elif await _is_under_way(producer):
                run.killed, run.confirmed = leader, producer.confirmed
                run.unconfirmed = producer.unresolved
                killed_at = time.monotonic()
                # The signal goes out before anything else can happen in this process.
                pid = await cluster.kill(leader)
                story.tell(
                    f"SIGKILL for {leader}, process {pid}: "
                    f"{run.confirmed} records confirmed, {run.unconfirmed} under way"
                )
        if not killed_at:
            raise DemoFailed("each record was confirmed before the next could be sent")
        following = asyncio.create_task(_note_leader(cluster, story, besides=leader))
        await producer.flush()
        await following
    if story.failed is not None:
        raise DemoFailed(f"{story.failed.count} records were not confirmed: {story.failed.error}")
    # What had arrived when the leader died is read a little later.
    first = next((at for at in story.confirmed_at if at > killed_at + SETTLE_S), None)
    if first is None:
        raise DemoFailed(f"{leader} led no more when it was killed: run the demo again")
    run.gap_s = first - killed_at
    story.tell(f"all {producer.confirmed} confirmed; for {run.gap_s:.1f} s there was no leader")


async def _is_under_way(producer: Producer) -> bool:
    """Let what was sent leave this process; True if its fate is open then."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return producer.unresolved > 0


async def _all_in_sync(cluster: Supervisor) -> tuple[NodeId, ...]:
    """Wait until the ISR has all brokers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = await cluster.status()
            if len(status.isr) == len(cluster.urls):
                return status.isr
            await asyncio.sleep(LOOK_S)


async def _bring_back(cluster: Supervisor, run: RealRun, story: _Story) -> None:
    """Start the dead broker again and wait until it is in sync."""
    pid = await cluster.restart(run.killed)
    isr = ", ".join(await _all_in_sync(cluster))
    story.tell(f"{run.killed} is back as process {pid}, and in sync: ISR {isr}")


async def _read_back(cluster: Supervisor, story: _Story) -> list[ConsumerRecord]:
    """Everything from the beginning to the committed end."""
    servers = cluster.bootstrap_servers
    records: list[ConsumerRecord] = []
    async with Consumer(servers, auto_offset_reset="earliest") as consumer:
        end = await consumer.end_offset()
        async with asyncio.timeout(PATIENCE_S):
            while await consumer.position() < end:
                records += await consumer.getmany(timeout_ms=1000)
    story.tell(f"a consumer has read {len(records)} records from the beginning")
    return records
