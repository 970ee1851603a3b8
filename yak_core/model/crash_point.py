"""A backend wrapper that crashes a node between two effects of a step, for tests."""

from __future__ import annotations

from collections.abc import Callable

from yak_core.contract.effects import Effect, Exit, Halt
from yak_core.contract.host import Host
from yak_core.ids import Micros


def _counting(method: str) -> Callable[[CrashPoint, Effect], None]:
    """Return a method that calls the backend's ``method`` and counts the effect."""

    def carry_out(point: CrashPoint, effect: Effect) -> None:
        getattr(point.backend, method)(effect)
        point.effects_left -= 1
        if point.effects_left == 0:
            point.host.stop()

    return carry_out


class CrashPoint:
    """A backend that stops its host after ``effects`` more effects.

    The constructor replaces the backend of the host by the crash point. When ``effects_left`` is 0,
    the owner of the host must stop the host instead of delivering the next event. ``halt`` and
    ``exit`` of the node are passed on without counting.
    """

    __slots__ = ("backend", "effects_left", "host")

    def __init__(self, host: Host, effects: int) -> None:
        assert effects >= 0, f"effects must not be negative, got {effects}"
        self.effects_left = effects
        self.host = host
        self.backend = host.backend
        host.attach(self)

    def remove(self) -> None:
        """Remove the crash point: attach the wrapped backend to the host again."""
        self.host.attach(self.backend)

    def now(self) -> Micros:
        return self.backend.now()

    send = _counting("send")
    set_timer = _counting("set_timer")
    cancel_timer = _counting("cancel_timer")
    append_log = _counting("append_log")
    flush_log = _counting("flush_log")
    truncate_log = _counting("truncate_log")
    send_log = _counting("send_log")
    answer_log = _counting("answer_log")
    save_state = _counting("save_state")
    call_meta = _counting("call_meta")
    answer = _counting("answer")
    observe = _counting("observe")

    def halt(self, effect: Halt) -> None:
        self.backend.halt(effect)

    def exit(self, effect: Exit) -> None:
        self.backend.exit(effect)
