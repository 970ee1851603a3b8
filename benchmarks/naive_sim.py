"""A naive replication simulator in plain SimPy, as a peer for the benchmarks.

It does not import the project. Three nodes are SimPy processes with a ``simpy.Store`` as mailbox,
and each message in flight is a process. A client sends records at a fixed rate to the leader. The
leader sends each record to both followers, counts their acks, and answers when all nodes have the
record (acks=all). The leader also sends heartbeats. The simulator has no elections, epochs, faults,
trace or checks, so it does much less than the real simulator. With ``disk`` each node appends and
flushes before it acknowledges, with one process per write; the default is no disk. Messages can
overtake each other, so the results are correct only at rates where this does not happen.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

FOLLOWERS = ("n2", "n3")
HEARTBEAT_US = 100_000


@dataclass
class Message:
    """A message; ``kind`` is produce, replicate, ack, heartbeat, alive or answer."""

    kind: str
    src: str
    dst: str
    offset: int = -1
    hw: int = 0
    payload: bytes = b""


@dataclass
class Node:
    """A broker or the client: a mailbox, a log and the progress of the other nodes."""

    name: str
    inbox: simpy.Store
    log: list[bytes] = field(default_factory=list)
    acked: dict[str, int] = field(default_factory=dict)
    hw: int = 0
    pending: dict[int, str] = field(default_factory=dict)


class NaiveSimulator:
    """The simulator. ``messages`` counts received messages, ``confirmed`` acknowledged records."""

    def __init__(self, rate_per_s: int, record: bytes, *, disk: bool = False) -> None:
        self.messages = 0
        self.confirmed = 0
        self._env = simpy.Environment()
        self._random = random.Random(7)
        self._rate_per_s = rate_per_s
        self._record = record
        self._disk = disk
        self._nodes = {
            name: Node(name, simpy.Store(self._env)) for name in ("n1", *FOLLOWERS, "p1")
        }

    def run(self, duration_us: int) -> int:
        """Simulate ``duration_us`` microseconds and return the number of received messages."""
        env = self._env
        env.process(self._leader())
        for name in FOLLOWERS:
            env.process(self._follower(self._nodes[name]))
        env.process(self._client())
        env.process(self._produce())
        env.process(self._send_heartbeats())
        env.run(until=duration_us)
        return self.messages

    def _send(self, message: Message) -> None:
        self._env.process(self._travel(message))

    def _travel(self, message: Message) -> Generator[simpy.Event, Any, None]:
        """Deliver one message after its delay, as a process."""
        yield self._env.timeout(300 + int(self._random.expovariate(1 / 300)))
        yield self._nodes[message.dst].inbox.put(message)
        self.messages += 1

    def _write(self) -> Generator[simpy.Event, Any, None]:
        """Wait for an append and a flush."""
        yield self._env.timeout(40)
        yield self._env.timeout(500 + int(self._random.expovariate(1 / 500)))

    def _produce(self) -> Generator[simpy.Event, Any, None]:
        interval = 1_000_000 // self._rate_per_s
        while True:
            self._send(Message("produce", "p1", "n1", payload=self._record))
            yield self._env.timeout(interval)

    def _client(self) -> Generator[simpy.Event, Any, None]:
        inbox = self._nodes["p1"].inbox
        while True:
            message = yield inbox.get()
            assert message.kind == "answer"
            self.confirmed += 1

    def _send_heartbeats(self) -> Generator[simpy.Event, Any, None]:
        leader = self._nodes["n1"]
        while True:
            for follower in FOLLOWERS:
                self._send(Message("heartbeat", "n1", follower, hw=leader.hw))
            yield self._env.timeout(HEARTBEAT_US)

    def _leader(self) -> Generator[simpy.Event, Any, None]:
        leader = self._nodes["n1"]
        while True:
            message = yield leader.inbox.get()
            if message.kind == "produce":
                offset = len(leader.log)
                leader.log.append(message.payload)
                leader.pending[offset] = message.src
                for follower in FOLLOWERS:
                    self._send(
                        Message("replicate", "n1", follower, offset, leader.hw, message.payload)
                    )
                self._env.process(self._stored(leader, offset))
            elif message.kind == "ack":
                self._on_ack(leader, message.src, message.offset + 1)

    def _stored(self, node: Node, offset: int) -> Generator[simpy.Event, Any, None]:
        """Count the leader's own write as an ack."""
        if self._disk:
            yield self._env.process(self._write())
        self._on_ack(node, node.name, offset + 1)

    def _on_ack(self, leader: Node, node_name: str, end: int) -> None:
        leader.acked[node_name] = max(leader.acked.get(node_name, 0), end)
        hw = min(leader.acked.get(name, 0) for name in ("n1", *FOLLOWERS))
        while leader.hw < hw:
            client = leader.pending.pop(leader.hw)
            self._send(Message("answer", "n1", client, leader.hw, hw))
            leader.hw += 1

    def _follower(self, node: Node) -> Generator[simpy.Event, Any, None]:
        while True:
            message = yield node.inbox.get()
            node.hw = max(node.hw, min(message.hw, len(node.log)))
            if message.kind == "replicate":
                node.log.append(message.payload)
                self._env.process(self._acknowledge(node, message.offset))
            else:
                self._send(Message("alive", node.name, "n1"))

    def _acknowledge(self, node: Node, offset: int) -> Generator[simpy.Event, Any, None]:
        if self._disk:
            yield self._env.process(self._write())
        self._send(Message("ack", node.name, "n1", offset))
