"""Compare the logs of two replicas: the first offset at which they differ.

Replicas may differ above the high watermark: a follower that was the leader may have records that
were never committed, until it truncates them. Below it they must be equal. The HW checkpoints on
disk are lower bounds of the high watermark, so the lower one of them holds for both replicas.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from yak_core.batch import HEADER_BYTES, Batch, UnsupportedCodec, records
from yak_core.ids import Offset
from yak_net.log_files.reading import LogFile, is_folder, read_folder

OnBytes: TypeAlias = Callable[[int], None]
Row: TypeAlias = tuple[int, int, int, bytes | None, bytes | None, object]
"""(offset, epoch, timestamp, key, value, headers) of a record."""

LOOKS_MAX: Final = 3
_FIELDS: Final = ("offset", "epoch", "timestamp", "key", "value", "headers")
_COVERED_AT: Final = 21
"""Position in a batch from which on the CRC covers its bytes: all but offset and epoch."""


class Difference(StrEnum):
    """How two logs relate."""

    EQUAL = "equal"
    """Below both ends they are equal."""
    UNCOMMITTED = "uncommitted"
    """They differ at or above the lower HW checkpoint only."""
    COMMITTED = "committed"
    """They differ below the lower HW checkpoint, or one of them ends or is damaged below it."""
    UNKNOWN = "unknown"
    """They differ, and no HW checkpoint is known."""


@dataclass(frozen=True)
class Side:
    """One replica: its valid log has the offsets [``log_start``, ``leo``).

    ``hw`` is its HW checkpoint, None if it has none. ``damage`` is why the log is not valid after
    ``leo``, or empty.
    """

    path: str
    name: str
    in_use_by: int | None
    log_start: Offset
    leo: Offset
    hw: Offset | None
    damage: str


@dataclass(frozen=True)
class Comparison:
    """Two replicas; ``offset`` is the first one at which they differ, None if there is none.

    ``what`` says how they differ there. ``hw`` is the lower HW checkpoint, None if none is known.
    """

    sides: tuple[Side, Side]
    difference: Difference
    offset: Offset | None
    what: str
    hw: Offset | None

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak log diff --json`` (docs/formats.md)."""
        return asdict(self)


class Replica:
    """The log of one replica, read from its first offset on."""

    def __init__(self, path: Path, on_bytes: OnBytes) -> None:
        """Open a data folder or a segment. Raises StorageError, OSError."""
        self.path = path
        self.on_bytes = on_bytes
        self.name = path.name
        self.holder: int | None = None
        self.hw: Offset | None = None
        self.damage = ""
        self._stop: dict[Path, int] = {}
        segments = [path]
        owner = path if path.is_dir() else path.parent
        if path.is_dir() or is_folder(owner):
            folder = read_folder(owner)
            self.name, self.holder = folder.identity.node, folder.holder
            self.hw = folder.saved.hw
            if path.is_dir():
                segments = list(folder.segments)
            if folder.holder is not None and folder.flushed is not None:
                # What is above the checkpoint may be a write in progress.
                self._stop = {
                    each: folder.flushed.position
                    for each in segments
                    if each.stem.isdigit() and int(each.stem) == folder.flushed.segment
                }
        self._segments = segments
        self.start: Offset = self._first()
        self.leo = self.start

    def _first(self) -> Offset:
        for path in self._segments:
            with LogFile(path) as log:
                if log.base is not None:
                    return log.base
                for entry in log.entries():
                    return entry.header.base_offset if entry.header is not None else 0
        return 0

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of the valid prefix. Raises OSError."""
        for path in self._segments:
            with LogFile(path) as log:
                for entry in log.entries(self._stop.get(path)):
                    if entry.batch is None:
                        self.damage = f"{path.name}: {entry.error}"
                        return
                    if entry.batch.base_offset != self.leo:
                        self.damage = (
                            f"{path.name}: batch at byte {entry.position} begins at offset "
                            f"{entry.batch.base_offset}, expected {self.leo}"
                        )
                        return
                    self.leo = entry.batch.end
                    self.on_bytes(entry.batch.size)
                    yield entry.batch

    def side(self) -> Side:
        """Return what is known after :meth:`batches` has ended."""
        return Side(
            str(self.path), self.name, self.holder, self.start, self.leo, self.hw, self.damage
        )


def diff(one: Path, other: Path, on_bytes: OnBytes = lambda _: None) -> Comparison:
    """Compare two data folders or segments. Raises StorageError, OSError.

    A truncation by a running broker may change a log during the read; a difference counts only if
    two looks agree.
    """
    found = _look(one, other, on_bytes)
    for _ in range(LOOKS_MAX - 1):
        in_use = any(side.in_use_by is not None for side in found.sides)
        if found.difference is Difference.EQUAL or not in_use:
            break
        before, found = found, _look(one, other, on_bytes)
        if (before.difference, before.offset) == (found.difference, found.offset):
            break
    return found


def _look(one: Path, other: Path, on_bytes: OnBytes) -> Comparison:
    a, b = Replica(one, on_bytes), Replica(other, on_bytes)
    found = _first_difference(a, b)
    known = [each for each in (a.hw, b.hw) if each is not None]
    hw = min(known, default=None)
    return Comparison((a.side(), b.side()), *_judge(a, b, found, hw), hw)


def _judge(
    a: Replica, b: Replica, found: tuple[Offset, str] | None, hw: Offset | None
) -> tuple[Difference, Offset | None, str]:
    # The HW of a broker that runs may be above its flush checkpoint, where the read ended.
    stopped = [each for each in (a, b) if each.holder is None]
    short = [each for each in stopped if hw is not None and each.leo < hw]
    if found is None:
        if not short:
            return (Difference.EQUAL, None, "")
        # Up to here they are equal, but one of them lacks committed records.
        return (Difference.COMMITTED, short[0].leo, f"{short[0].name} ends at {short[0].leo}")
    offset, what = found
    if hw is None:
        return (Difference.UNKNOWN, offset, what)
    committed = bool(short) or offset < hw
    return (Difference.COMMITTED if committed else Difference.UNCOMMITTED, offset, what)


class _Records:
    """The batches of one replica, from an offset on, batch by batch or record by record."""

    def __init__(self, replica: Replica, start: Offset) -> None:
        self.name = replica.name
        self._batches = replica.batches()
        self._start = start
        self._rows: deque[Row] = deque()
        self.batch: Batch | None = None
        self.whole = False
        self.next_batch()

    def next_batch(self) -> None:
        """Go to the next batch that ends above the start."""
        self.batch = next((each for each in self._batches if each.end > self._start), None)
        self.whole = True

    def rest(self) -> None:
        """Read the batches up to the end of the log."""
        for _ in self._batches:
            continue

    def pop(self) -> Row | None:
        """Return the next record; None at the end. Raises UnsupportedCodec."""
        if not self._rows:
            if self.batch is None:
                return None
            epoch = self.batch.epoch
            self._rows.extend(
                (r.offset, epoch, r.timestamp_ms, r.key, r.value, r.headers)
                for r in records(self.batch)
                if r.offset >= self._start
            )
            self.whole = False
        row = self._rows.popleft()
        if not self._rows:
            self.next_batch()
        return row


def _first_difference(a: Replica, b: Replica) -> tuple[Offset, str] | None:
    """Return (offset, what differs) of the first difference below both ends; read both logs."""
    start = max(a.start, b.start)
    one, other = _Records(a, start), _Records(b, start)
    found: tuple[Offset, str] | None = None
    while found is None and one.batch is not None and other.batch is not None:
        if one.whole and other.whole and _same(one.batch, other.batch):
            one.next_batch()
            other.next_batch()
            continue
        found = _next_record(one, other)
    one.rest()
    other.rest()
    return found


def _same(one: Batch, other: Batch) -> bool:
    if (one.base_offset, one.epoch, one.size) != (other.base_offset, other.epoch, other.size):
        return False
    return one.data[_COVERED_AT:] == other.data[_COVERED_AT:]


def _next_record(one: _Records, other: _Records) -> tuple[Offset, str] | None:
    """Compare the next record of both, or two batches whose records are the same."""
    first, second = one.batch, other.batch
    assert first is not None
    assert second is not None
    whole = one.whole and other.whole and first.base_offset == second.base_offset
    if whole and first.count == second.count:
        return _in_batches(one, other)
    try:
        return _in_rows(one.pop(), other.pop(), one.name, other.name)
    except UnsupportedCodec:
        return (first.base_offset, "compressed batches have other limits or bytes")


def _in_batches(one: _Records, other: _Records) -> tuple[Offset, str] | None:
    """Return the first difference in two batches with the same offsets."""
    first, second = one.batch, other.batch
    assert first is not None
    assert second is not None
    names = (one.name, other.name)
    if first.epoch != second.epoch:
        return (first.base_offset, _text("epoch", first.epoch, second.epoch, names))
    try:
        for a, b in zip(records(first), records(second), strict=True):
            rows = [(r.offset, 0, r.timestamp_ms, r.key, r.value, r.headers) for r in (a, b)]
            found = _in_rows(rows[0], rows[1], *names)
            if found is not None:
                return found
    except UnsupportedCodec:
        return (first.base_offset, "the bytes of a compressed batch differ")
    fields = (
        ("producer", *(f"{x.producer_id}/{x.producer_epoch}" for x in (first, second))),
        ("sequence", first.base_sequence, second.base_sequence),
        ("bytes", *(x.data[_COVERED_AT:HEADER_BYTES].hex() for x in (first, second))),
    )
    for name, mine, theirs in fields:
        if mine != theirs:
            return (first.base_offset, _text(name, mine, theirs, names))
    return (first.base_offset, "the encoding of the records differs")


def _in_rows(one: Row | None, other: Row | None, *names: str) -> tuple[Offset, str] | None:
    if one is None or other is None or one == other:
        return None
    for name, mine, theirs in zip(_FIELDS, one, other, strict=True):
        if mine != theirs:
            return (min(one[0], other[0]), _text(name, mine, theirs, names))
    return None


def _text(name: str, mine: object, theirs: object, names: tuple[str, ...]) -> str:
    one, other = (repr(each)[:80] if isinstance(each, bytes) else each for each in (mine, theirs))
    return f"{name} is {one} in {names[0]}, {other} in {names[1]}"
