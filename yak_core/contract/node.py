"""What a node is and what its world does for it: the two sides of the contract.

Must never know which world it is.
"""

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
    """Canonical, immutable, comparable picture of a node: its kind and its named values.

    Values are integers, strings, None and tuples of those; the names are sorted.
    """

    kind: str
    values: tuple[tuple[str, object], ...]

    def get(self, name: str) -> object:
        """The value called ``name``; KeyError when the node has none."""
        for key, found in self.values:
            if key == name:
                return found
        raise KeyError(name)


class Node(Protocol):
    """A participant of the protocol, clients included: a state machine without a world."""

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Take in one event at time ``now`` and return what to do, in order."""
        ...

    def snapshot(self) -> Snapshot:
        """What the node is like now."""
        ...

    def fork(self) -> Node:
        """A copy that shares no mutable state with this node."""
        ...


Build: TypeAlias = Callable[[Micros, Started], tuple[Node, list[Effect]]]
"""Makes a node out of the time and its first event; the effects are those of its first step."""


class Backend(Protocol):
    """One node's world: a method an effect family; none may block or call back into the node."""

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
