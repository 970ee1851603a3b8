"""Standard streams of a command that may be closed, non-blocking, full, or without a reader.

:func:`guarded` replaces ``sys.stdout`` and ``sys.stderr``: a failed write does not stop the work of
the command, and its exit code stays that of the work. Only a command whose work is to print fails.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn, TextIO

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
_CLOSED: Final = {STDIN: os.O_WRONLY, STDOUT: os.O_RDONLY, STDERR: os.O_WRONLY}
"""How a closed stream is opened on the null device: reads of 0 and writes to 1 then fail."""


class Output(io.RawIOBase):
    """Writes to a descriptor. After the first failure, all output is dropped.

    ``failure`` is the error of the first failed write, or None.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return os.isatty(self._fd)

    def write(self, data: Any, /) -> int:
        """Write all bytes, waiting while a non-blocking descriptor is full; return their number."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self.failure is None:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                wait(self._fd, select.POLLOUT)
            except OSError as error:
                self.failure = error
        return size


def guarded(command: Callable[[], object], *, prints_only: bool = False) -> object:
    """Run a command with guarded streams; return its result or raise its SystemExit.

    If the output cannot be written, a line on standard error says why, unless the reader has gone.
    The exit code of a command that ``prints_only`` is then 1 instead of 0.
    """
    open_closed()
    outputs = [_replace("stdout", STDOUT), _replace("stderr", STDERR)]
    try:
        return command()
    except SystemExit as end:
        sys.stdout.flush()
        failure = outputs[0].failure if outputs[0] is not None else None
        if failure is not None and failure.errno != errno.EPIPE:
            print(f"Error: cannot write the output: {reason(failure)}", file=sys.stderr)
            if prints_only and end.code in (0, None):
                raise SystemExit(1) from None
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def open_closed() -> None:
    """Open closed standard streams on the null device, so that no file gets their numbers."""
    for fd, mode in _CLOSED.items():
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, mode)
            assert opened == fd, "open returns the lowest free number"
            os.set_inheritable(fd, True)


def is_open(fd: int) -> bool:
    """Return whether a stream was open at the start of the command."""
    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return mode in (os.O_RDWR, os.O_RDONLY if fd == STDIN else os.O_WRONLY)


def output_failed() -> bool:
    """Return whether standard output failed, or its reader has gone."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(output, Output) and output.failure is not None:
        return True
    return reader_left(STDOUT)


def reader_left(fd: int) -> bool:
    """Return whether the reading end of a pipe, socket or terminal is closed."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))


def wait(fd: int, event: int) -> None:
    """Wait until a descriptor is ready for ``event`` (POLLIN or POLLOUT), or has failed."""
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()


def reason(error: OSError) -> str:
    """Return why standard output cannot be written, or standard input not be read."""
    if error.errno == errno.EBADF:
        return "the stream is closed"
    return error.strerror or str(error)


def _replace(name: str, fd: int) -> Output | None:
    """Replace a stream of ``sys``; return None if another program has replaced it already."""
    given: TextIO | None = getattr(sys, name)
    if given is not getattr(sys, f"__{name}__"):
        return None
    output = Output(fd)
    stream = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=given.encoding if given is not None else "utf-8",
        errors=given.errors if given is not None else "backslashreplace",
        line_buffering=fd == STDERR or output.isatty(),
    )
    setattr(sys, name, stream)
    return output


def exit_without_input() -> NoReturn:
    """Exit with 1, because the command reads standard input, which is closed."""
    message = "Error: there is no input: standard input is closed; give --message or --file"
    print(message, file=sys.stderr)
    sys.exit(1)
