"""Record the trace of one broker process to a file.

An error of the recording ends the recording, never the broker. The attribute ``end_reason``
then says why. After a crash, the file is readable up to its last complete line. A clean stop calls
:meth:`FileRecorder.close`.
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
from yak_core.encoding.json_scalars import Mismatch
from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Header
from yak_core.trace.version import DISTRIBUTION, core_digest, files_of, version_text
from yak_core.trace.writer import END_BYTES_MAX, TraceLines

TRACE_BYTES_MAX: Final = 1 << 30
"""Default size of a trace at which the recording ends."""
BUFFER_BYTES: Final = 64 * 1024
"""Size of the buffer at which it is written to the file."""

log = structlog.get_logger("yak.broker")


def net_header(scenario: str = "") -> Header:
    """Return the trace header of a real broker, with the digest of the running core's sources."""
    try:
        package = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        package = "0"
    digest = core_digest(files_of(resources.files("yak_core")))
    return Header("net", scenario, 0, version_text(package, digest))


_Step: TypeAlias = tuple[Micros, NodeId, int, Event, list[Effect], int]


class FileRecorder:
    """The Recorder of one broker process, with its own file.

    ``path`` is the requested name; if that file exists, a number is added before the suffix. The
    file has at most ``bytes_max`` bytes. The header defaults to :func:`net_header`. ``call_soon``,
    that of an event loop, is called with :meth:`flush` when the buffer is no longer empty, so
    that a crash loses little. Raises OSError if the file cannot be created.

    ``end_reason`` is empty during the recording, and contains the reason after its end. ``dropped``
    counts the steps after the end.
    """

    def __init__(
        self,
        path: Path,
        header: Header | None = None,
        bytes_max: int = TRACE_BYTES_MAX,
        call_soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._lines = TraceLines(header or net_header())
        self._bytes_left = bytes_max - END_BYTES_MAX - len(self._lines.first)
        if self._bytes_left < 0:
            least = bytes_max - self._bytes_left
            raise ValueError(f"bytes_max must be at least {least} for a trace, got {bytes_max}")
        self._buffer = bytearray()
        self._call_soon = call_soon
        #: The newest step, not yet encoded: the number of executed effects is known later.
        self._pending_step: _Step | None = None
        self.end_reason = ""
        self.dropped = 0
        file, self.path = _create(path)
        self._file: BinaryIO | None = file
        self._bytes_max = bytes_max
        # Write the header at once: without it, the file would be unreadable after a crash.
        self._put(self._lines.first)
        self.flush()

    @property
    def steps(self) -> int:
        """Number of recorded steps."""
        return self._lines.steps + (self._pending_step is not None)

    def record(
        self,
        t_us: Micros,
        node: NodeId,
        start: int,
        event: Event,
        effects: list[Effect],
        cause: int,
    ) -> int:
        """Record a step and return its number, from 0; after the end, only count it."""
        self._encode_pending()
        number = self._lines.steps + self.dropped
        if self.end_reason:
            self.dropped += 1
        else:
            self._pending_step = (t_us, node, start, event, effects, cause)
            if self._call_soon is not None and not self._buffer:
                self._call_soon(self.flush)
        if len(self._buffer) >= BUFFER_BYTES:
            self._write_buffer()
        return number

    def carried_out(self, number: int, count: int) -> None:
        """Record that only the first ``count`` effects of the newest step were executed."""
        if self._pending_step is not None:
            self._encode_pending(count)

    def flush(self) -> None:
        """Write the buffer to the file."""
        self._encode_pending()
        self._write_buffer()

    def _encode_pending(self, done: int | None = None) -> None:
        """Encode the newest step, if it is not encoded yet."""
        if self._pending_step is None:
            return
        step, self._pending_step = self._pending_step, None
        try:
            chunk = self._lines.step(*step, self._bytes_left, done)
        except Mismatch as mismatch:
            self._end_recording(f"cannot encode a step: {mismatch}")
            return
        if not chunk:
            self._end_recording(f"size limit of {self._bytes_max} bytes reached")
            return
        self._bytes_left -= len(chunk)
        self._put(chunk)

    def _write_buffer(self) -> None:
        file = self._file
        if file is None or not self._buffer:
            return
        remaining, self._buffer = memoryview(self._buffer), bytearray()
        try:
            while remaining:
                remaining = remaining[file.write(remaining) :]
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Write the footer, which contains the number of dropped steps, and close the file."""
        if self._file is None:
            return
        self._encode_pending()
        if not self.end_reason:
            self.end_reason = f"the trace {self.path} is complete: {self.steps} steps"
        self._put(self._lines.footer(self.dropped))
        self.flush()
        self._close()

    def _put(self, chunk: bytes) -> None:
        self._buffer += chunk

    def _end_recording(self, reason: str) -> None:
        """End the recording; the file stays open, because the footer counts the dropped steps."""
        self.dropped += 1
        self.end_reason = f"the trace {self.path} ends after {self.steps} steps: {reason}"
        log.warning("recording ended", reason=self.end_reason)
        self.flush()

    def _fail(self, error: OSError) -> None:
        """End the recording and close the file, which is readable up to its last complete line."""
        self.end_reason = f"the trace {self.path} is incomplete: {error.strerror or error}"
        log.warning("recording ended", reason=self.end_reason)
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # Some file systems report a full disk only here; there is nothing left to do.
            with suppress(OSError):
                file.close()


def _create(path: Path) -> tuple[BinaryIO, Path]:
    """Create a new file; return it and its path: ``n1.jsonl``, else ``n1.2.jsonl``, and so on."""
    for number in count(1):
        name = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        try:
            # Unbuffered: a buffered file would keep the bytes of a failed write.
            return name.open("xb", buffering=0), name
        except FileExistsError:
            continue
    raise AssertionError("unreachable: count() does not end")
