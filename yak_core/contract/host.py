"""Runs one incarnation of a node against a backend; must never decide anything about replication.

The host is the engine of the contract (docs/contract.md), the same in all three worlds: one event
at a time, effects handed to the backend in list order, every step recorded, and nothing delivered
any more once the incarnation is over. A backend is synchronous, never blocks and never calls
``step``; whatever happens later comes back through :meth:`Host.deliver`.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from yak_core.contract.effects import (
    Answer,
    AnswerLog,
    AppendLog,
    CallMeta,
    CancelTimer,
    Effect,
    Exit,
    FlushLog,
    Halt,
    Observe,
    SaveState,
    Send,
    SendLog,
    SetTimer,
    TruncateLog,
)
from yak_core.contract.events import Event
from yak_core.contract.node import Backend, Node
from yak_core.ids import Micros, NodeId


class Recorder(Protocol):
    """Keeps the steps of a world; ``record`` returns the number of the step, from 0."""

    def record(
        self,
        t_us: Micros,
        node: NodeId,
        start: int,
        event: Event,
        effects: list[Effect],
        cause: int,
    ) -> int: ...


class Observer(Protocol):
    """Looks at a node after each of its steps; an exception from it fails the run."""

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None: ...


class Host:
    """One incarnation of ``node`` in its world.

    ``start`` counts the starts of this node id, from 1. ``cause`` in :meth:`deliver` is the number
    of the step whose effect brought the event about, -1 when there is none; vector clocks are
    computed from it afterwards, so that messages need not carry them.
    """

    __slots__ = (
        "node_id",
        "start",
        "node",
        "backend",
        "recorder",
        "observers",
        "alive",
        "step_number",
        "fuse",
        "_queue",
        "_draining",
        "_table",
    )

    def __init__(
        self,
        node_id: NodeId,
        start: int,
        node: Node,
        backend: Backend,
        recorder: Recorder | None = None,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.node_id = node_id
        self.start = start
        self.node = node
        self.backend = backend
        self.recorder = recorder
        self.observers = observers
        self.alive = True
        self.step_number = -1
        self.fuse: int | None = None
        self._queue: deque[tuple[Event, int]] = deque()
        self._draining = False
        self._table = {
            Send: backend.send,
            SetTimer: backend.set_timer,
            CancelTimer: backend.cancel_timer,
            AppendLog: backend.append_log,
            FlushLog: backend.flush_log,
            TruncateLog: backend.truncate_log,
            SendLog: backend.send_log,
            AnswerLog: backend.answer_log,
            SaveState: backend.save_state,
            CallMeta: backend.call_meta,
            Answer: backend.answer,
            Observe: backend.observe,
            Halt: backend.halt,
            Exit: backend.exit,
        }

    def deliver(self, event: Event, cause: int = -1) -> None:
        """Give the node an event: at once, or after the step that is under way."""
        if not self.alive:
            return
        if self._draining:
            self._queue.append((event, cause))
            return
        self._draining = True
        try:
            self._step(event, cause)
            while self._queue:  # Which stop() empties.
                self._step(*self._queue.popleft())
        finally:
            self._draining = False

    def stop(self) -> None:
        """End the incarnation: what is queued or completes later is dropped."""
        self.alive = False
        self._queue.clear()

    def _step(self, event: Event, cause: int) -> None:
        now = self.backend.now()
        try:
            effects = self.node.step(now, event)
        except BaseException as error:
            self.stop()
            self.backend.halt(Halt(f"step raised {type(error).__name__}: {error}"))
            raise
        recorder = self.recorder
        if recorder is not None:
            self.step_number = recorder.record(now, self.node_id, self.start, event, effects, cause)
        if self.fuse is not None:
            effects = self._dispatch_until_fuse(effects)
        elif effects:
            table = self._table
            for effect in effects:
                table[type(effect)](effect)  # type: ignore[operator]
                if not self.alive:
                    break
        for observer in self.observers:
            observer.after_step(self, now, event, effects)

    def _dispatch_until_fuse(self, effects: list[Effect]) -> list[Effect]:
        """Carry out effects until the fuse has burnt down: a crash between two effects.

        Returns those that were carried out: nobody may be told of the others.
        """
        for done, effect in enumerate(effects):
            if self.fuse == 0 or not self.alive:
                self.stop()
                return effects[:done]
            if self.fuse is not None:
                self.fuse -= 1
            self._table[type(effect)](effect)  # type: ignore[operator]
        return effects
