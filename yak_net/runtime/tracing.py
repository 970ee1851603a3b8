"""Writes the trace of one broker process to a file as it happens; must never harm the broker.

Recording is a help for people, so whatever goes wrong with it ends the recording, never the broker:
``ended`` then has a sentence for the log. A process that is killed leaves a file that can be read
up to its last whole line; one that ends in good order calls :meth:`FileRecorder.close`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import metadata, resources
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import structlog

from yak_core.contract.effects import Effect
from yak_core.contract.events import Event
from yak_core.encoding.json_scalars import Misfit
from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Header
from yak_core.trace.version import core_digest, files_of, version_text
from yak_core.trace.writer import END_BYTES_MAX, TraceLines

TRACE_BYTES_MAX: Final = 1 << 30
"""The size of a trace at which recording ends, by default."""
BUFFER_BYTES: Final = 64 * 1024
"""So much is collected before it is given to the system."""

log = structlog.get_logger("yak.broker")


def net_header(scenario: str = "") -> Header:
    """The header of a real broker's trace: it names the sources of the core that run here."""
    try:
        package = metadata.version("yak")
    except metadata.PackageNotFoundError:
        package = "0"
    digest = core_digest(files_of(resources.files("yak_core")))
    return Header("net", scenario, 0, version_text(package, digest))


_Step: TypeAlias = tuple[Micros, NodeId, int, Event, list[Effect], int]


class FileRecorder:
    """The Recorder of one process of one broker, in a file of its own.

    ``path`` is where it writes: the name that was asked for, with a number before its suffix when
    that name is taken. The file has at most ``bytes_max`` bytes. ``ended`` is empty while steps
    are recorded, then a sentence on why they no longer are; ``dropped`` counts those that came
    since. OSError when the file cannot be made. The header is :func:`net_header`'s by default.
    ``soon`` is called with :meth:`flush` when there is something to flush, such as ``call_soon`` of
    a loop: then a process that is killed loses little.
    """

    def __init__(
        self,
        path: Path,
        header: Header | None = None,
        bytes_max: int = TRACE_BYTES_MAX,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._lines = TraceLines(header or net_header())
        self._room = bytes_max - END_BYTES_MAX - len(self._lines.first)
        if self._room < 0:
            raise ValueError(f"a trace of {bytes_max} bytes has no room for a step")
        self._buffer = bytearray()
        self._soon = soon
        #: The newest step, not yet encoded: how much of it was carried out is known afterwards.
        self._held: _Step | None = None
        self.ended = ""
        self.dropped = 0
        file, self.path = _made(path)
        self._file: BinaryIO | None = file
        self._bytes_max = bytes_max
        # At once, so that whatever is left of the file can be read.
        self._put(self._lines.first)
        self.flush()

    @property
    def steps(self) -> int:
        """How many steps were recorded."""
        return self._lines.steps + (self._held is not None)

    def record(
        self,
        t_us: Micros,
        node: NodeId,
        start: int,
        event: Event,
        effects: list[Effect],
        cause: int,
    ) -> int:
        """Keep a step and return its number, from 0; when recording has ended, count it."""
        self._write_held()
        number = self._lines.steps + self.dropped
        if self.ended:
            self.dropped += 1
        else:
            self._held = (t_us, node, start, event, effects, cause)
            if self._soon is not None and not self._buffer:
                self._soon(self.flush)
        if len(self._buffer) >= BUFFER_BYTES:
            self._give()
        return number

    def carried_out(self, number: int, count: int) -> None:
        """Only the first ``count`` effects of the newest step were carried out."""
        if self._held is not None:
            self._write_held(count)

    def flush(self) -> None:
        """Give what was collected to the system; the owner calls this from time to time."""
        self._write_held()
        self._give()

    def _write_held(self, done: int | None = None) -> None:
        """Encode the step that was held back, if there is one."""
        if self._held is None:
            return
        held, self._held = self._held, None
        try:
            chunk = self._lines.step(*held, self._room, done)
        except Misfit as misfit:
            self._end(f"a step cannot be written: {misfit}")
            return
        if not chunk:
            self._end(f"it has grown to its limit of {self._bytes_max} bytes")
            return
        self._room -= len(chunk)
        self._put(chunk)

    def _give(self) -> None:
        file = self._file
        if file is None or not self._buffer:
            return
        left, self._buffer = memoryview(self._buffer), bytearray()
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write the footer, which says how many steps were dropped, and close the file."""
        if self._file is None:
            return
        self._write_held()
        if not self.ended:
            self.ended = f"the trace {self.path} is complete: {self.steps} steps"
        self._put(self._lines.footer(self.dropped))
        self.flush()
        self._close()

    def _put(self, chunk: bytes) -> None:
        self._buffer += chunk

    def _end(self, why: str) -> None:
        """No more steps; the file stays open for the footer, which has to count what is missing."""
        self.dropped += 1
        self.ended = f"the trace {self.path} ends after {self.steps} steps: {why}"
        log.warning("recording is over", reason=self.ended)
        self.flush()

    def _give_up(self, error: OSError) -> None:
        """No more anything: what is in the file can be read up to its last whole line."""
        self.ended = f"the trace {self.path} is cut short: {error.strerror or error}"
        log.warning("recording is over", reason=self.ended)
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # Some file systems report here that there was no space; nobody could do more about it.
            with suppress(OSError):
                file.close()


def _made(path: Path) -> tuple[BinaryIO, Path]:
    """A new file and its name: ``n1.jsonl``, or ``n1.2.jsonl`` when that is there, and so on."""
    for number in count(1):
        name = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        try:
            # Without a buffer of Python's, which would keep what could not be written.
            return name.open("xb", buffering=0), name
        except FileExistsError:
            continue
    raise AssertionError("there is always another number")
