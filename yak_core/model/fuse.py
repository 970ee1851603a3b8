"""A crash in the midst of a step, for the worlds that can have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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
from yak_core.contract.host import Host
from yak_core.ids import Micros

E = TypeVar("E", bound=Effect)


class Fuse:
    """A backend that stops its host right after so many more effects.

    It attaches itself to the host in the place of the backend that it wraps. With ``left`` 0 the
    owner of the host must let it crash instead of delivering the next event. A halt or an exit of
    the node itself ends the incarnation as ever.
    """

    __slots__ = ("_backend", "_host", "left")

    def __init__(self, host: Host, effects: int) -> None:
        assert effects >= 0, "a crash comes after no, one or more effects"
        self.left = effects
        self._host = host
        self._backend = host.backend
        host.attach(self)

    def put_out(self) -> None:
        """Give the host its backend back."""
        self._host.attach(self._backend)

    def _carry_out(self, act: Callable[[E], None], effect: E) -> None:
        act(effect)
        self.left -= 1
        if self.left == 0:
            self._host.stop()

    def now(self) -> Micros:
        return self._backend.now()

    def send(self, effect: Send) -> None:
        self._carry_out(self._backend.send, effect)

    def set_timer(self, effect: SetTimer) -> None:
        self._carry_out(self._backend.set_timer, effect)

    def cancel_timer(self, effect: CancelTimer) -> None:
        self._carry_out(self._backend.cancel_timer, effect)

    def append_log(self, effect: AppendLog) -> None:
        self._carry_out(self._backend.append_log, effect)

    def flush_log(self, effect: FlushLog) -> None:
        self._carry_out(self._backend.flush_log, effect)

    def truncate_log(self, effect: TruncateLog) -> None:
        self._carry_out(self._backend.truncate_log, effect)

    def send_log(self, effect: SendLog) -> None:
        self._carry_out(self._backend.send_log, effect)

    def answer_log(self, effect: AnswerLog) -> None:
        self._carry_out(self._backend.answer_log, effect)

    def save_state(self, effect: SaveState) -> None:
        self._carry_out(self._backend.save_state, effect)

    def call_meta(self, effect: CallMeta) -> None:
        self._carry_out(self._backend.call_meta, effect)

    def answer(self, effect: Answer) -> None:
        self._carry_out(self._backend.answer, effect)

    def observe(self, effect: Observe) -> None:
        self._carry_out(self._backend.observe, effect)

    def halt(self, effect: Halt) -> None:
        self._backend.halt(effect)

    def exit(self, effect: Exit) -> None:
        self._backend.exit(effect)
