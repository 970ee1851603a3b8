"""The link gate of a broker: drops or delays its messages, for faults that a supervisor injects.

A supervisor that starts a broker passes it one end of a socket pair, whose number is in the
variable YAK_LINK_GATE. Nobody else can send to it. Without the variable there is no gate.

The supervisor sends all faults on links of this broker as one JSON line::

    {"number": 3, "links": [{"src": "n1", "dst": "n2", "drop": true, "delay_us": 0,
                             "bytes_per_s": 0}]}

The broker answers ``{"applied": 3}``. A message is dropped or delayed where it is sent; the
connections stay open, as in a network that loses packets. ``store`` is the metadata store: a
dropped request is not executed, and a dropped reply is one of a request that was executed. Both are
Unknown to the node when the timeout of the store has passed.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from yak_core.contract.messages import PeerMessage
from yak_core.ids import Micros, NodeId
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest, Unknown
from yak_core.wire.codec import encode
from yak_net.runtime.backend import Sender, Store

STORE: Final = "store"
LINE_MAX: Final = 1 << 20
HELD_MAX: Final = 10_000
"""Delayed messages of one link; a network has a limited buffer, too."""

log = structlog.get_logger("yak.links")


@dataclass(frozen=True)
class LinkRule:
    """The fault of one direction of a link; a message is delayed by ``delay_us``, then sent at
    ``bytes_per_s`` (0: no limit)."""

    drop: bool = False
    delay_us: Micros = 0
    bytes_per_s: int = 0


_SOUND: Final = LinkRule()


class LinkGate:
    """The faults on the links of one broker, as its supervisor has sent them."""

    def __init__(self, fd: int) -> None:
        """Take over the descriptor ``fd``, and apply what was already sent."""
        self._rules: Mapping[tuple[str, str], LinkRule] = {}
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)
        self._read()

    def rule(self, src: str, dst: str) -> LinkRule:
        """Return the fault of the link from ``src`` to ``dst``."""
        return self._rules.get((src, dst), _SOUND)

    def close(self) -> None:
        """End the channel."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(LINE_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the supervisor has ended, and so does this broker
            self._loop.remove_reader(self._socket)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._apply(json.loads(line))

    def _apply(self, order: dict[str, Any]) -> None:
        self._rules = {
            (link["src"], link["dst"]): LinkRule(
                link["drop"], Micros(link["delay_us"]), link["bytes_per_s"]
            )
            for link in order["links"]
        }
        names = [f"{src}>{dst}" for src, dst in self._rules]
        say = log.warning if names else log.info
        say("link faults", links=",".join(names) or "none")
        with suppress(OSError):  # the supervisor has ended
            self._socket.send(json.dumps({"applied": order["number"]}).encode() + b"\n")


class GatedPeers:
    """The links to the peers behind a gate."""

    def __init__(self, node: NodeId, peers: Sender, gate: LinkGate) -> None:
        self._node = node
        self._peers = peers
        self._gate = gate
        self._held: dict[NodeId, _Held] = {}

    def send(self, dst: NodeId, message: PeerMessage) -> bool:
        """Send, drop or delay a message; a lost message is not reported, as in a network."""
        rule = self._gate.rule(self._node, dst)
        held = self._held.get(dst)
        if rule.drop:
            return True
        if rule is _SOUND and (held is None or not held.queue):
            return self._peers.send(dst, message)
        if held is None:
            held = self._held[dst] = _Held(lambda each: self._peers.send(dst, each))
        # Also without a fault behind messages that are held: the order of a link stays.
        held.add(message, rule)
        return True


class _Held:
    """The delayed messages of one link, in order."""

    def __init__(self, send: Callable[[PeerMessage], object]) -> None:
        self.queue: deque[tuple[float, PeerMessage]] = deque()
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._free_at = 0.0

    def add(self, message: PeerMessage, rule: LinkRule) -> None:
        if len(self.queue) >= HELD_MAX:
            return
        due = self._loop.time() + rule.delay_us / 1e6
        if rule.bytes_per_s:
            due = max(due, self._free_at) + len(encode(message)) / rule.bytes_per_s
            self._free_at = due
        due = max(due, self.queue[-1][0]) if self.queue else due
        self.queue.append((due, message))
        if len(self.queue) == 1:
            self._loop.call_at(due, self._release)

    def _release(self) -> None:
        while self.queue and self.queue[0][0] <= self._loop.time():
            self._send(self.queue.popleft()[1])
        if self.queue:
            self._loop.call_at(self.queue[0][0], self._release)


class GatedStore:
    """The metadata store behind a gate; a call ends as Unknown after ``timeout_us``."""

    def __init__(self, node: NodeId, store: Store, gate: LinkGate, timeout_us: Micros) -> None:
        self._node = node
        self._store = store
        self._gate = gate
        self._timeout_s = timeout_us / 1e6
        self._late: set[asyncio.Task[MetaOutcome | None]] = set()

    async def call(self, request: MetaRequest) -> MetaOutcome:
        """Execute one call, unless its request or its reply is dropped."""
        there = self._gate.rule(self._node, STORE)
        back = self._gate.rule(STORE, self._node)
        if there is _SOUND and back is _SOUND:
            return await self._store.call(request)
        travel = asyncio.ensure_future(self._travel(request, there, back))
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            await asyncio.wait((travel,), timeout=self._timeout_s)
        finally:
            if not travel.done():
                # The request is under way: the store executes it when it arrives.
                self._late.add(travel)
                travel.add_done_callback(self._end_late)
        if travel.done() and (outcome := travel.result()) is not None:
            return outcome
        await asyncio.sleep(deadline - asyncio.get_running_loop().time())
        return Unknown()

    async def _travel(
        self, request: MetaRequest, there: LinkRule, back: LinkRule
    ) -> MetaOutcome | None:
        """Return the outcome, None if the request or the reply is dropped."""
        if there.drop:
            return None
        await asyncio.sleep(there.delay_us / 1e6)
        outcome = await self._store.call(request)
        if back.drop:
            return None
        await asyncio.sleep(back.delay_us / 1e6)
        return outcome

    def _end_late(self, travel: asyncio.Task[MetaOutcome | None]) -> None:
        self._late.discard(travel)
        if not travel.cancelled() and travel.exception() is not None:
            log.warning("late reply of the metadata store", error=str(travel.exception()))


def gated(
    node: NodeId, peers: Sender, store: Store, gate: LinkGate | None, timeout_us: Micros
) -> tuple[Sender, Store]:
    """Return the links and the store behind the gate; as they are if there is none."""
    if gate is None:
        return peers, store
    return GatedPeers(node, peers, gate), GatedStore(node, store, gate, timeout_us)
