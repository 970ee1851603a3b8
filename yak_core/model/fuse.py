"""A backend wrapper that crashes a node between two effects of a step, for tests."""

from __future__ import annotations

from collections.abc import Callable

from yak_core.contract.effects import Effect, Exit, Halt
from yak_core.contract.host import Host
from yak_core.ids import Micros


def _counted(method: str) -> Callable[[Fuse, Effect], None]:
    """Return a method that calls the backend's ``method`` and counts the effect."""

    def carry_out(fuse: Fuse, effect: Effect) -> None:
        getattr(fuse.backend, method)(effect)
        fuse.left -= 1
        if fuse.left == 0:
            fuse.host.stop()

    return carry_out


class Fuse:
    """A backend that stops its host after ``effects`` more effects.

    The constructor replaces the backend of the host by the fuse. ``left`` is the number of effects
    left; at 0, the owner of the host must stop the host instead of delivering the next event.
    ``halt`` and ``exit`` of the node are passed on without counting.
    """

    __slots__ = ("backend", "host", "left")

    def __init__(self, host: Host, effects: int) -> None:
        assert effects >= 0, f"effects must not be negative, got {effects}"
        self.left = effects
        self.host = host
        self.backend = host.backend
        host.attach(self)

    def put_out(self) -> None:
        """Remove the fuse: attach the wrapped backend to the host again."""
        self.host.attach(self.backend)

    def now(self) -> Micros:
        return self.backend.now()

    send = _counted("send")
    set_timer = _counted("set_timer")
    cancel_timer = _counted("cancel_timer")
    append_log = _counted("append_log")
    flush_log = _counted("flush_log")
    truncate_log = _counted("truncate_log")
    send_log = _counted("send_log")
    answer_log = _counted("answer_log")
    save_state = _counted("save_state")
    call_meta = _counted("call_meta")
    answer = _counted("answer")
    observe = _counted("observe")

    def halt(self, effect: Halt) -> None:
        self.backend.halt(effect)

    def exit(self, effect: Exit) -> None:
        self.backend.exit(effect)
