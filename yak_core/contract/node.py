"""The two sides of the contract: the node, and the backend that carries out its effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

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
from yak_core.ids import Micros
from yak_core.value import value


@value
class Snapshot:
    """Canonical, immutable, comparable state of a node: its kind and its named values.

    Values are integers, strings, None and tuples of those; the names are sorted.
    """

    kind: str
    values: tuple[tuple[str, object], ...]

    def get(self, name: str) -> object:
        """Return the value called ``name``. Raise KeyError if there is none."""
        for key, found in self.values:
            if key == name:
                return found
        raise KeyError(name)


class Node(Protocol):
    """A broker or client as a state machine."""

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Handle one event at time ``now``; return the effects in the order to carry them out."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the current state as named values."""
        ...

    def fork(self) -> Node:
        """Return a copy that shares no mutable state with this node."""
        ...


Build: TypeAlias = Callable[[Micros, Started], tuple[Node, list[Effect]]]
"""Makes a node from the time and its first event; returns also the effects of the first step."""


class Backend(Protocol):
    """One node's world, with one method for each effect.

    The methods must not block and must not call the node.
    """

    def now(self) -> Micros: ...
    def send(self, effect: Send) -> None: ...
    def set_timer(self, effect: SetTimer) -> None: ...
    def cancel_timer(self, effect: CancelTimer) -> None: ...
    def append_log(self, effect: AppendLog) -> None: ...
    def flush_log(self, effect: FlushLog) -> None: ...
    def truncate_log(self, effect: TruncateLog) -> None: ...
    def send_log(self, effect: SendLog) -> None: ...
    def answer_log(self, effect: AnswerLog) -> None: ...
    def save_state(self, effect: SaveState) -> None: ...
    def call_meta(self, effect: CallMeta) -> None: ...
    def answer(self, effect: Answer) -> None: ...
    def observe(self, effect: Observe) -> None: ...
    def halt(self, effect: Halt) -> None: ...
    def exit(self, effect: Exit) -> None: ...
