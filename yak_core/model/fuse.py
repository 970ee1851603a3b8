"""A crash in the midst of a step, for the worlds that can have one."""

from __future__ import annotations

from collections.abc import Callable

from yak_core.contract.effects import Effect, Exit, Halt
from yak_core.contract.host import Host
from yak_core.ids import Micros


def _counted(method: str) -> Callable[[Fuse, Effect], None]:
    """The backend's method of this name, and one effect less to go."""

    def carry_out(fuse: Fuse, effect: Effect) -> None:
        getattr(fuse.backend, method)(effect)
        fuse.left -= 1
        if fuse.left == 0:
            fuse.host.stop()

    return carry_out


class Fuse:
    """A backend that stops its host right after so many more effects.

    It attaches itself to the host in the place of the backend that it wraps. With ``left`` 0 the
    owner of the host must let it crash instead of delivering the next event. A halt or an exit of
    the node itself ends the incarnation as ever.
    """

    __slots__ = ("backend", "host", "left")

    def __init__(self, host: Host, effects: int) -> None:
        assert effects >= 0, "a crash comes after no, one or more effects"
        self.left = effects
        self.host = host
        self.backend = host.backend
        host.attach(self)

    def put_out(self) -> None:
        """Give the host its backend back."""
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
