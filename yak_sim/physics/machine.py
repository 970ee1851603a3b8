"""The machine of one node: its disk, and the process that runs on it.

Each process is a new node object, host and backend; the disk persists. A paused machine queues its
events and delivers them together when it resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from yak_core.config import BrokerConfig, ClientConfig
from yak_core.contract.client_calls import ClientCall
from yak_core.contract.events import Event, NotSent, PeerLost, Received, Started, StopAsked
from yak_core.contract.host import Host
from yak_core.contract.messages import Request
from yak_core.contract.node import Build, Node
from yak_core.ids import Micros, NodeId
from yak_core.model.crash_point import CrashPoint
from yak_sim.physics.backend import OnAnswer, SimBackend
from yak_sim.physics.choices import key_of
from yak_sim.physics.disk import SimDisk
from yak_sim.physics.kinds import Loss, ProcessEnd
from yak_sim.physics.machine_shared import MachineShared
from yak_sim.physics.network import Link, Receive
from yak_sim.physics.requests import ClientRequest
from yak_sim.physics.store import StoreAnswer
from yak_sim.physics.topology import BROKERS, STORE, LinkSpec


class Machine:
    """The machine of ``node_id``.

    ``starts``: number of started processes. ``host``: the running process, or None. ``stopping``: a
    stop was requested. ``last_src``: the sender of the last received message. With ``nonce_of``,
    the processes get the same nonces as those of that node, like the copy of a virtual machine.
    """

    __slots__ = (
        "_crash_point",
        "_crash_loss",
        "_queued",
        "_build",
        "_nonce_of",
        "backend",
        "config",
        "disk",
        "group",
        "host",
        "shared",
        "last_src",
        "starts",
        "node_id",
        "stopping",
    )

    def __init__(
        self,
        shared: MachineShared,
        node_id: NodeId,
        group: str,
        build: Build,
        config: BrokerConfig | ClientConfig,
        link: LinkSpec,
        nonce_of: NodeId | None = None,
    ) -> None:
        self.shared = shared
        self.node_id = node_id
        self.group = group
        self.config = config
        self.starts = 0
        self.host: Host | None = None
        self.backend: SimBackend | None = None
        self.last_src: NodeId | None = None
        self.stopping = False
        self.disk = SimDisk(
            shared.clock, shared.topology.disk, shared.choices.at("disk", node_id), self.deliver
        )
        self._build = build
        self._nonce_of = nonce_of or node_id
        self._queued: list[Callable[[], None]] | None = None
        self._crash_point: CrashPoint | None = None
        self._crash_loss = Loss.NOTHING
        shared.network.join(node_id, group, link, self._receiver_for)

    @property
    def node(self) -> Node | None:
        """Return the node object of the running process, None if there is none."""
        return None if self.host is None else self.host.node

    @property
    def up(self) -> bool:
        """Return whether a process runs, including a paused one."""
        return self.host is not None

    @property
    def paused(self) -> bool:
        """Return whether the process is paused."""
        return self._queued is not None

    def start(self) -> None:
        """Start a process, which recovers from the disk."""
        assert self.host is None, f"{self.node_id} is running"
        shared = self.shared
        self.starts += 1
        shared.network.reconnect(self.node_id)
        self.backend = SimBackend(self)
        self.host = Host(
            self.node_id,
            self.starts,
            self._build,
            self.backend,
            shared.recorder,
            shared.observers,
        )
        self.backend.host = self.host
        nonce = key_of(shared.choices.seed, "nonce", self._nonce_of, str(self.starts))
        recovered = self.disk.recovered()
        self.deliver(Started(self.node_id, self.config, nonce, recovered), -1)

    def crash(self, lose: Loss) -> int:
        """Crash the process between two steps. Return the number of unflushed batches."""
        assert self.host is not None, f"{self.node_id} is not running"
        unflushed = self.disk.unflushed
        self._end()
        self.disk.crash(lose)
        self.shared.listener.on_crash(self.node_id, self.disk.image)
        return unflushed

    def crash_after_effects(self, effects: int, lose: Loss) -> None:
        """Crash after the next ``effects`` effects, possibly in the middle of a step."""
        assert self.host is not None, f"{self.node_id} is not running"
        self.cancel_crash()
        self._crash_point = CrashPoint(self.host, effects)
        self._crash_loss = lose

    def cancel_crash(self) -> None:
        """Cancel the crash that ``crash_after_effects`` prepared."""
        if self._crash_point is not None:
            self._crash_point.remove()
        self._crash_point = None

    def request_stop(self, deadline_us: Micros) -> None:
        """Request a clean stop of the process."""
        self.stopping = True
        self.deliver(StopAsked(deadline_us), -1)

    def pause(self) -> None:
        """Queue all events from now on."""
        if self._queued is None:
            self._queued = []

    def resume(self) -> None:
        """Deliver the queued events in order of arrival, and continue."""
        queued, self._queued = self._queued or [], None
        for action in queued:
            action()

    def deliver(self, event: Event, cause: int) -> None:
        """Deliver an event to the process. Drop the event if no process runs."""
        host = self.host
        if host is None:
            return
        if self._queued is not None:
            self._queued.append(partial(self._deliver_to, host, event, cause))
            return
        if self._crash_point is None:
            host.deliver(event, cause)
            return
        if self._crash_point.effects_left > 0:
            host.deliver(event, cause)
        else:
            host.stop()
        if not host.alive and self.host is host:
            self._crash_at_point(self._crash_loss)

    def queue_if_paused(self, action: Callable[[], None]) -> bool:
        """Queue ``action`` if the machine is paused. Return whether it is paused."""
        if self._queued is None:
            return False
        self._queued.append(action)
        return True

    def ask(self, request: Request | ClientCall, on_answer: OnAnswer, cause: int = -1) -> None:
        """Deliver a client call. Drop it without an answer if no process runs."""
        if self.backend is None:
            return
        if self._queued is not None:
            self._queued.append(partial(self.ask, request, on_answer, cause))
        else:
            self.backend.ask(request, on_answer, cause)

    def deliver_peer_lost(self, peer: NodeId) -> None:
        """Deliver PeerLost for a broken connection to ``peer``."""
        self.deliver(PeerLost(peer), -1)

    def on_process_end(self, end: ProcessEnd, reason: str) -> None:
        """Handle the end of the node after a halt or a requested stop."""
        self._end()
        self.disk.complete_pending()
        self.shared.listener.on_process_end(self.node_id, end, reason)

    def _deliver_to(self, host: Host, event: Event, cause: int) -> None:
        if self.host is host:
            self.deliver(event, cause)

    def _end(self) -> None:
        if self.host is not None:
            self.host.stop()
        if self.backend is not None:
            self.backend.timers.stop()
        self.host = None
        self.backend = None
        self._queued = None
        self._crash_point = None
        self.stopping = False

    def _crash_at_point(self, lose: Loss) -> None:
        unflushed = self.crash(lose)
        self.shared.listener.on_process_end(self.node_id, ProcessEnd.CRASH_POINT, str(unflushed))

    def _receiver_for(self, src: str) -> Receive:
        """Return the receiver of the messages from ``src``."""
        if src == STORE:
            return _on_store_answer
        if self.group != BROKERS:
            return self._on_response
        if not self.shared.network.is_in(src, BROKERS):
            return partial(self._on_request, self.shared.network.link(self.node_id, src))
        # Peers send events: the link can deliver them to the process directly.
        return cast(Receive, self.deliver)

    def _on_response(self, payload: object, cause: int) -> None:
        if isinstance(payload, ClientRequest):
            if payload.start == self.starts:
                self.deliver(NotSent(payload.request.correlation), cause)
            return
        assert isinstance(payload, Received)
        self.last_src = payload.src
        self.deliver(payload, cause)

    def _on_request(self, reply_link: Link, payload: object, cause: int) -> None:
        assert isinstance(payload, ClientRequest)
        if payload.refused:
            return
        if self.host is None:
            if not payload.taken:
                payload.refused = True
                reply_link.send(payload, cause)
            return
        payload.taken = True

        def reply(result: object, step: int) -> None:
            reply_link.send(Received(self.node_id, result), step)  # type: ignore[arg-type]

        self.ask(payload.request, reply, cause)


def _on_store_answer(payload: object, cause: int) -> None:
    assert isinstance(payload, StoreAnswer)
    payload.caller.on_outcome(payload.call, payload.outcome, cause)
