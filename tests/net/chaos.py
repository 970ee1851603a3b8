"""A cluster of broker processes under load, for failures of all kinds.

The load records the outcome of each record. At the end, the whole log is read and compared: no
confirmed record is missing, no record is duplicate, the order is kept.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

from tests.net.brokers import BrokerProcess, get
from yak_net.client.consumer import Consumer
from yak_net.client.producer import Producer, Resolved

PATIENCE_S = 40.0
NODES = ("n1", "n2", "n3")
QUICK = (
    "lease_us=1000000", "lease_renew_us=100000", "replicate_heartbeat_us=50000",
    "election_stagger_us=100000",
    "replica_lag_us=1000000",
)  # fmt: skip
"""A third of the default periods, for tests with many failovers."""


async def until(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait for a condition; AssertionError with ``what`` at the timeout."""
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"timeout: {what}"
        await asyncio.sleep(0.02)


class ChaosCluster:
    """Three brokers on loopback. Their ports stay reserved until ``close``."""

    def __init__(
        self, folder: Path, redis_url: str, *words: str, config: tuple[str, ...] = QUICK
    ) -> None:
        self.folder = folder
        self._held = ExitStack()
        ports: dict[str, int] = {}
        for node in NODES:
            held = self._held.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(("127.0.0.1", 0))
            ports[node] = held.getsockname()[1]
        self.urls = {node: f"http://127.0.0.1:{port}" for node, port in ports.items()}
        self._words = ["--redis", redis_url, *words]
        for pair in config:
            self._words += ["--config", pair]
        self.brokers: dict[str, BrokerProcess] = {}
        self.led: dict[int, str] = {}

    def start(self, node: str) -> None:
        """Start a broker on its data directory."""
        brokers = ",".join(f"{name}={url}" for name, url in self.urls.items())
        self.brokers[node] = BrokerProcess(
            self.folder / f"{node}.log",
            "--node-id", node, "--listen", self.urls[node].removeprefix("http://"),
            "--brokers", brokers, "--data-dir", str(self.folder / node),
            "--trace", str(self.folder / f"{node}.jsonl"), *self._words,
            env={"YAK_REUSE_PORT": "1"},
        )  # fmt: skip

    def kill(self, *nodes: str) -> None:
        """Send SIGKILL to all these nodes, then wait for their ends."""
        for node in nodes:
            self.brokers[node].process.send_signal(SIGKILL)
        for node in nodes:
            self.brokers[node].process.wait()

    def freeze(self, node: str) -> None:
        """Send SIGSTOP."""
        self.brokers[node].process.send_signal(SIGSTOP)

    def thaw(self, node: str) -> None:
        """Send SIGCONT."""
        self.brokers[node].process.send_signal(SIGCONT)

    def view(self, node: str) -> dict[str, Any]:
        """Return the body of a broker's GET /v1/cluster; empty without a response."""
        return get(f"{self.urls[node]}/v1/cluster")[1]

    def leader(self, other_than: str = "") -> str:
        """Return the leader of the highest epoch that a broker reports; "" without a leader."""
        found = ""
        newest = -1
        for node, broker in self.brokers.items():
            if node == other_than or not broker.up:
                continue
            view = self.view(node)
            if view.get("leader") == node and view["epoch"] > newest:
                found, newest = node, view["epoch"]
        if found:
            known = self.led.setdefault(newest, found)
            assert known == found, f"two leaders of epoch {newest}: {known} and {found}"
        return found

    async def wait_for_leader(self, other_than: str = "") -> str:
        """Wait for a leader; return its node id."""
        await until(lambda: self.leader(other_than), f"a leader\n{self.logs()}")
        return self.leader(other_than)

    async def wait_until_in_sync(self, nodes: tuple[str, ...] = NODES) -> None:
        """Wait until these nodes are in the ISR."""

        def whole() -> bool:
            leader = self.leader()
            return bool(leader) and self.view(leader).get("isr") == list(nodes)

        await until(whole, f"all in sync\n{self.logs()}")

    def logs(self) -> str:
        """Return the last lines of each broker's output."""
        parts = [f"{node}:\n{broker.output[-1500:]}" for node, broker in self.brokers.items()]
        return "\n".join(parts)

    @property
    def servers(self) -> tuple[str, ...]:
        """Return the bootstrap servers."""
        return tuple(self.urls.values())

    def close(self) -> None:
        """Kill all brokers and release the ports."""
        for broker in self.brokers.values():
            broker.close()
        self._held.close()


class Load:
    """A producer that sends numbered records at a rate and keeps their results.

    ``confirmed_at`` are the times of the confirmations; ``unknown`` and ``not_written`` count
    records.
    """

    def __init__(self, servers: tuple[str, ...], rate_per_s: int, linger_ms: int = 2) -> None:
        self.producer = Producer(
            servers, linger_ms=linger_ms, on_batch=self._on_batch, request_timeout_ms=500
        )
        self.rate_per_s = rate_per_s
        self.sent = 0
        self.outcomes: list[str] = []
        self.confirmed_at: list[float] = []
        self._task: asyncio.Task[None] | None = None

    def _on_batch(self, batch: Resolved) -> None:
        self.outcomes += [""] * (batch.first + batch.count - len(self.outcomes))
        self.outcomes[batch.first : batch.first + batch.count] = [batch.outcome] * batch.count
        if batch.outcome == "written":
            self.confirmed_at.append(time.monotonic())

    async def start(self) -> None:
        """Start to send."""
        await self.producer.start()
        self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        started = time.monotonic()
        while True:
            due = int((time.monotonic() - started) * self.rate_per_s)
            while self.sent < due:
                await self.producer.send(b"r-%07d" % self.sent)
                self.sent += 1
            await asyncio.sleep(0.001)

    @property
    def confirmed(self) -> int:
        """Return the number of confirmed records."""
        return self.producer.confirmed

    async def wait_for_confirmed(self, more: int) -> None:
        """Wait until ``more`` further records are confirmed."""
        wanted = self.confirmed + more
        await until(lambda: self.confirmed >= wanted, f"{more} more confirmed records")

    async def kill_while_in_flight(self, kill: Callable[[], None]) -> tuple[int, float]:
        """Call ``kill`` while records are in flight; return their number and the time."""
        await self.wait_for_confirmed(self.rate_per_s // 4)
        deadline = time.monotonic() + PATIENCE_S
        while not self.producer.unresolved:
            assert time.monotonic() < deadline, "no record is in flight"
            await asyncio.sleep(0)
        under_way = self.producer.unresolved
        kill()
        return (under_way, time.monotonic())

    async def ack_gap_after(self, moment: float) -> float:
        """Return the seconds from ``moment`` to the first confirmation by the next leader."""
        # Acks that had arrived before the kill may be read a little later.
        await until(
            lambda: any(at > moment + 0.2 for at in self.confirmed_at), "an ack after the kill"
        )
        return next(at for at in self.confirmed_at if at > moment + 0.2) - moment

    async def stop(self) -> None:
        """Stop sending and wait until every record has a result."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.producer.stop()
        assert len(self.outcomes) == self.sent

    def check(self, read: list[bytes | None]) -> None:
        """Compare the records read with the outcomes."""
        numbers = [int((value or b"").removeprefix(b"r-")) for value in read]
        held = set(numbers)
        assert len(held) == len(numbers), "a record is duplicated"
        assert numbers == sorted(numbers), "the order is not kept"
        confirmed = [n for n, outcome in enumerate(self.outcomes) if outcome == "written"]
        lost = [n for n in confirmed if n not in held]
        assert not lost, f"{len(lost)} confirmed records are lost, the first is {lost[0]}"
        made_up = [n for n in held if n >= self.sent or self.outcomes[n] == "not_written"]
        assert not made_up, f"{len(made_up)} records read that were reported as not written"


async def read_all(servers: tuple[str, ...]) -> list[bytes | None]:
    """Return the values from offset 0 to the high watermark."""
    async with Consumer(servers, auto_offset_reset="earliest") as consumer:
        end = await consumer.end_offset()
        read: list[bytes | None] = []
        while len(read) < end:
            for record in await consumer.getmany(timeout_ms=5000):
                assert record.offset == len(read), "offsets have no gaps"
                if record.offset < end:
                    read.append(record.value)
        return read
