"""The engine of the contract: runs one start of a node against a backend.

The engine is the same in all three worlds (docs/contract.md). It delivers one event at a time,
passes the effects to the backend in list order, and records every step. It delivers nothing after
the host has stopped. A backend is synchronous, does not block and does not call ``step``;
completions come back through :meth:`Host.deliver`.

The host handles failure. An exception from the node, the recorder, the backend or an observer stops
the host. The host then calls ``halt`` of the backend, unless it has already called ``halt``
or ``exit``. Finally it raises the exception to the caller of ``deliver``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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
from yak_core.contract.events import Event, Started
from yak_core.contract.node import Backend, Build, Node
from yak_core.ids import Micros, NodeId


class Recorder(Protocol):
    """Records the steps of a world."""

    def record(
        self,
        t_us: Micros,
        node: NodeId,
        start: int,
        event: Event,
        effects: list[Effect],
        cause: int,
    ) -> int:
        """Record a step before its effects are carried out; return its number, from 0."""
        ...

    def carried_out(self, number: int, count: int) -> None:
        """Record that only the first ``count`` effects of a step were carried out.

        Called directly after the step, and only if some effects were not carried out.
        """
        ...


class Observer(Protocol):
    """Inspects a node after each of its steps; an exception from an observer fails the run."""

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        """Inspect a step; ``effects`` are those that were carried out."""
        ...


class Host:
    """One start of a node in its world.

    The first event is ``Started``; ``build`` makes the node from it. Before that, ``node`` is not
    set. ``start`` is the number of starts of this node id, from 1. ``cause`` in :meth:`deliver` is
    the number of the step whose effect caused the event, -1 for none. Vector clocks are computed
    from the causes, so messages do not need to carry them.
    """

    node: Node

    __slots__ = (
        "node_id", "start", "node", "backend", "recorder", "observers", "alive", "step_number",
        "_build", "_handle", "_ended", "_queue", "_stepping", "_methods",
    )  # fmt: skip

    def __init__(
        self,
        node_id: NodeId,
        start: int,
        build: Build,
        backend: Backend,
        recorder: Recorder | None = None,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.node_id = node_id
        self.start = start
        self._build = build
        #: Handles the next event: ``_begin`` for the first one, then ``step`` of the node.
        self._handle: Callable[[Micros, Event], list[Effect]] = self._begin
        self.recorder = recorder
        self.observers = observers
        #: False after the host has stopped; later events are dropped.
        self.alive = True
        #: Number of the current or last step; -1 before the first and without a recorder.
        self.step_number = -1
        #: Whether ``halt`` or ``exit`` of the backend was called.
        self._ended = False
        self._queue: deque[tuple[Event, int]] = deque()
        self._stepping = False
        self.attach(backend)

    def attach(self, backend: Backend) -> None:
        """Use this backend for all further effects."""
        self.backend = backend
        self._methods = {
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
            Halt: self._halt,
            Exit: self._exit,
        }

    def resume(self, node: Node) -> None:
        """Continue with an existing node, such as a copy of another host's node."""
        self.node = node
        self._handle = node.step

    def deliver(self, event: Event, cause: int = -1) -> None:
        """Deliver an event to the node; during a step, the event is queued until its end.

        An exception from the node, recorder, backend or an observer stops the host and is
        raised again.
        """
        alive = self.alive  # A local name, because mypy does not see that effects change it.
        if not alive:
            return
        if self._stepping:
            self._queue.append((event, cause))
            return
        self._stepping = True
        effects: list[Effect] = []
        done = 0
        doing = "step"
        try:
            while True:
                now = self.backend.now()
                effects = self._handle(now, event)
                doing = "recorder"
                if self.recorder is not None:
                    self.step_number = self.recorder.record(
                        now, self.node_id, self.start, event, effects, cause
                    )
                if effects:
                    doing = "backend"
                    table = self._methods
                    for done, effect in enumerate(effects, 1):
                        table[type(effect)](effect)  # type: ignore[operator]
                        if not self.alive:
                            effects = self._keep_first(done, effects)
                            break
                doing = "observer"
                for observer in self.observers:
                    observer.after_step(self, now, event, effects)
                if not self._queue:  # stop() empties the queue, so this also ends the loop.
                    return
                event, cause = self._queue.popleft()
                doing = "step"
        except BaseException as error:
            if doing == "backend":
                self._keep_first(done - 1, effects)
            self._fail(f"{doing} raised {type(error).__name__}: {error}", error)
            raise
        finally:
            self._stepping = False

    def stop(self) -> None:
        """Stop the host; drop queued and later events."""
        self.alive = False
        self._queue.clear()

    def _begin(self, now: Micros, event: Event) -> list[Effect]:
        assert isinstance(event, Started), f"the first event must be Started, got {event!r}"
        self.node, effects = self._build(now, event)
        self._handle = self.node.step
        return effects

    def _keep_first(self, count: int, effects: list[Effect]) -> list[Effect]:
        """Return the first ``count`` effects and record that only these were carried out."""
        if count < len(effects) and self.recorder is not None:
            self.recorder.carried_out(self.step_number, count)
        return effects[:count]

    def _fail(self, reason: str, error: BaseException) -> None:
        """Stop the host and call ``halt`` of the backend, at most once."""
        self.stop()
        if self._ended:
            return
        try:
            self._halt(Halt(reason))
        except BaseException as second:
            error.add_note(f"backend halt also raised {type(second).__name__}: {second}")

    def _halt(self, effect: Halt) -> None:
        self.stop()
        self._ended = True
        self.backend.halt(effect)

    def _exit(self, effect: Exit) -> None:
        self.stop()
        self._ended = True
        self.backend.exit(effect)
