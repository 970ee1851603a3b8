"""The process of one broker: signals, the supervisor's pipe (lifeline), and the exit code.

Exit codes: 0 after a clean stop, 1 after a halt or an unclean stop, 2 if the broker cannot start.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from typing import Final

import structlog

from yak_net.broker.server import BrokerServer, CannotStart
from yak_net.runtime.logs import LogFormat, ProcessLog, log_loop_error, open_log
from yak_net.runtime.note_log import configure
from yak_net.runtime.settings import BrokerSettings

STOPPED: Final = 0
HALTED: Final = 1
CANNOT_START: Final = 2
SECOND_SIGNAL_S: Final = 0.1
"""Seconds for the last log lines, if a second signal ends the process."""

log = structlog.get_logger("yak.process")


def run(
    settings: BrokerSettings, *, verbose: bool = False, log_format: LogFormat = LogFormat.TEXT
) -> int:
    """Run a broker until it ends, and return the exit code.

    Writes the reason of a failed start or of a halt to standard error. From here on, that is the
    log, which never raises and never blocks (:mod:`yak_net.runtime.log_sink`).
    """
    configure(verbose=verbose)
    output = open_log(log_format)
    output.install()
    atexit.register(output.sink.finish)  # after a traceback, if the process ends with one
    return asyncio.run(_run(settings, output))


async def _run(settings: BrokerSettings, output: ProcessLog) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    server = BrokerServer(settings)
    server.meters.lines_dropped = lambda: output.sink.dropped
    starting = asyncio.create_task(server.start())
    signals = 0

    def on_signal(name: str) -> None:
        nonlocal signals
        signals += 1
        log.info("stop requested", by=name)
        if signals > 1:
            # A second signal ends the process at once, like a kill; the log on disk survives that.
            output.sink.finish(SECOND_SIGNAL_S)
            os._exit(HALTED)
        if not starting.done():
            starting.cancel()
        server.request_stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, signal.Signals(number).name)
    if settings.lifeline is not None:
        _watch_lifeline(loop, settings.lifeline, on_signal)
    try:
        await starting
        gc.freeze()  # start-up objects stay: exclude them from each later collection
        gc.set_threshold(20_000, 20, 50)  # messages contain no reference cycles
        await server.ended.wait()
    except asyncio.CancelledError:
        if not signals:
            raise
        return STOPPED
    except CannotStart as error:
        print(f"yak broker: {error}", file=sys.stderr)
        return CANNOT_START
    finally:
        await server.close()
    if server.halt_reason:
        print(f"yak broker: halted: {server.halt_reason}", file=sys.stderr)
        return HALTED
    log.info("stopped", clean=server.clean)
    return STOPPED if server.clean else HALTED


def _watch_lifeline(loop: asyncio.AbstractEventLoop, fd: int, on_signal: object) -> None:
    """Stop the broker when its supervisor ends, which closes the other end of the pipe ``fd``."""

    def on_end() -> None:
        with suppress(BlockingIOError):
            if not os.read(fd, 1):
                loop.remove_reader(fd)
                on_signal("supervisor exit")  # type: ignore[operator]

    os.set_blocking(fd, False)
    loop.add_reader(fd, on_end)
