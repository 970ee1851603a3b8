"""An event loop in a thread of its own, which runs one client for an application without a loop.

Any thread may call :meth:`Background.call`. An interrupted call, such as by Ctrl-C, is undone in
the loop, so that no record is lost between the loop and the application.

The thread is a daemon, so a program that does not close its clients can end. A client that is open
at the end of the program is closed then. A forked process has the client but not the thread, so
each use of the client raises an error there.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import warnings
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from yak_net.client.base import Client
from yak_net.client.errors import IllegalStateError

C = TypeVar("C", bound=Client)
T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]

EXIT_S: Final = 10.0
"""Time limit for a client that is open when the program ends."""

_open: Final[set[Background]] = set()
"""The running loops; those that are left when the program ends are closed."""


class Background:
    """An event loop in a thread, from the constructor to :meth:`end`.

    ``kind`` is the name of the client in error messages. ``at_exit`` is the work that closes the
    client when the program ends before :meth:`end`; ``report`` is called after it, and also after
    the work of :meth:`end_later`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.at_exit: Work[None] | None = None
        self.report: Callable[[], None] | None = None
        self._pid = os.getpid()
        self._ready = threading.Event()
        self._ended = False
        self._calls: set[_Call[Any]] = set()
        self._thread = threading.Thread(target=self._run, name=f"yak-{kind}", daemon=True)
        self._thread.start()
        self._ready.wait()
        _open.add(self)

    @property
    def has_ended(self) -> bool:
        """Whether :meth:`end` was called, or the thread has ended."""
        return self._ended

    @property
    def is_forked(self) -> bool:
        """Whether this process is a copy that ``fork`` made, without the thread."""
        return os.getpid() != self._pid

    def call(self, work: Work[T], undo: Callable[[T], object] | None = None) -> T:
        """Run ``work`` in the loop and return its result, or raise its exception.

        If an exception such as KeyboardInterrupt ends the wait, ``work`` is cancelled; if it was
        complete, ``undo`` is called in the loop with its result. Raises IllegalStateError if the
        client is closed, if this process was forked, and in the thread of the loop, which would
        wait for itself.
        """
        self.check()
        call = _Call(work, undo)
        self._calls.add(call)
        if not self._soon(call.start):
            self._calls.discard(call)
            raise self._closed()
        try:
            call.done.wait()
        except BaseException:
            self._soon(call.abandon)
            raise
        finally:
            self._calls.discard(call)
        task = call.task
        if task is None or not task.done() or task.cancelled():
            raise self._closed()
        return task.result()

    def end(self, timeout_s: float | None = None) -> None:
        """Cancel what still runs in the loop, and end the thread. May be repeated."""
        self._ended = True
        self.end_later()
        self._thread.join(timeout_s)

    def end_later(self, last: Work[None] | None = None) -> None:
        """End the thread after the work ``last``, without waiting for it."""
        self.at_exit = None

        async def finish() -> None:
            try:
                if last is not None:
                    await last()
                    if self.report is not None:
                        self.report()
            finally:
                self._stop.set()

        self._soon(_Call(finish, None).start)

    def close_at_exit(self) -> None:
        """Run ``at_exit``, end the thread, and call ``report``."""
        if self.at_exit is None:  # another thread closes the client
            self._thread.join(EXIT_S)
        else:
            with suppress(IllegalStateError):  # another thread has just closed the client
                self.call(self.at_exit)
        self.end(EXIT_S)
        if self.report is not None:
            self.report()

    # -- helpers --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._ended = True
            _open.discard(self)
            # The closed loop accepts no more calls, and does not start those that are left.
            for call in tuple(self._calls):
                call.done.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def _soon(self, callback: Callable[[], object]) -> bool:
        """Run ``callback`` in the loop; return False if the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return False
        return True

    def _closed(self) -> IllegalStateError:
        return IllegalStateError(f"the {self.kind} was closed; create a new one")

    def check(self) -> None:
        """Raise IllegalStateError if :meth:`call` is not possible, for the reasons named there."""
        if self.is_forked:
            raise IllegalStateError(
                f"the {self.kind} belongs to process {self._pid}, and this is process "
                f"{os.getpid()}, a fork of it; create the {self.kind} after the fork"
            )
        if threading.current_thread() is self._thread:
            raise IllegalStateError(
                f"a callback of the {self.kind} called the {self.kind}, which would wait for "
                "itself; call it from another thread"
            )
        if self._ended:
            raise self._closed()


class _Call(Generic[T]):
    """One call. ``done`` is set at its end, or at the end of the loop; methods run in the loop."""

    def __init__(self, work: Work[T], undo: Callable[[T], object] | None) -> None:
        self.done = threading.Event()
        self.task: asyncio.Task[T] | None = None
        self._work = work
        self._undo = undo
        self._is_abandoned = False

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._work())
        self.task.add_done_callback(self._on_done)

    def abandon(self) -> None:
        """Cancel the work; undo it if it was complete."""
        assert self.task is not None, "a call was abandoned before its start"
        self._is_abandoned = True
        self.task.cancel()  # has no effect on work that is complete
        if self.done.is_set():
            self._undo_result(self.task)

    def _on_done(self, task: asyncio.Task[T]) -> None:
        self.done.set()
        if self._is_abandoned:
            self._undo_result(task)

    def _undo_result(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None and self._undo is not None:
            self._undo(task.result())


def started(background: Background, start: Work[C]) -> C:
    """Start the client of a new loop and return it; after an error, end the loop."""
    try:
        return background.call(start, lambda client: background.end_later(client.stop))
    except BaseException:
        background.end()
        raise


def close_client(background: Background, stop: Work[None]) -> None:
    """Stop a client and end its loop; do nothing if it is closed, or in a forked process."""
    if background.is_forked or background.has_ended:
        return
    background.check()
    try:
        with suppress(IllegalStateError):  # another thread has just closed the client
            background.call(stop)
    finally:
        background.end()


def drop_client(client: object, background: Background, stop: Work[None]) -> None:
    """Stop a client to which no reference is left, in the background."""
    if background.is_forked or background.has_ended:
        return
    background.end_later(stop)
    warnings.warn(
        f"a {type(client).__name__} was not closed; call close(), or use it in a with block",
        ResourceWarning,
        stacklevel=3,
        source=client,
    )


def _close_all() -> None:
    for each in tuple(_open):
        each.close_at_exit()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_open.clear)
