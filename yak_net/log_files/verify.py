"""Verify a data folder: its log, and what the checkpoints and markers say about the log.

The rules are those of a recovery (:mod:`yak_net.storage.recovery`), but all bytes are read, and
nothing is repaired. A folder that a broker has open is verified below its flush checkpoint: what is
above it may be a write in progress. A truncation may change the rest during the read, so a problem
of such a folder counts only if a second look finds it, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from yak_core.batch import Batch, BatchError, Torn, UnsupportedCodec, records
from yak_core.ids import Epoch, Offset
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import ProducerTable
from yak_core.rules import Rules, SequenceResult
from yak_net.log_files.reading import Entry, Folder, LogFile, read_folder
from yak_net.storage.checkpoints import DAMAGED, REWRITE, VERIFY, Checkpoint
from yak_net.storage.folder import CHECKPOINT, EPOCHS
from yak_net.storage.recovery import Misplaced, check_next, is_unwritten

LOOKS_MAX: Final = 3
PROBLEMS_MAX: Final = 100
"""Problems that are listed of one folder; a damaged log can have millions."""
OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Problem:
    """What is wrong: the name of the check, and a sentence."""

    check: str
    what: str


@dataclass
class Verdict:
    """The result for one data folder.

    The log has the offsets [``log_start``, ``leo``). ``flushed`` is the end of the flush
    checkpoint, ``hw`` the high watermark checkpoint. ``notes`` are facts that are no problem.
    """

    folder: str
    node: str
    cluster: str
    in_use_by: int | None
    log_start: Offset = 0
    leo: Offset = 0
    flushed: Offset | None = None
    hw: Offset = 0
    batches: int = 0
    records: int = 0
    bytes: int = 0
    torn_bytes: int = 0
    epochs: list[tuple[Epoch, Offset]] = field(default_factory=list)
    clean: Offset | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak log verify --json`` (docs/formats.md)."""
        return {**asdict(self), "valid": self.valid}

    def add(self, check: str, what: str) -> None:
        """Add a problem, up to PROBLEMS_MAX."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(check, what))


def verify(path: Path, on_bytes: OnBytes = lambda _: None) -> Verdict:
    """Verify a data folder; ``on_bytes`` is called with the size of each batch that was read.

    Raises StorageError if it is no data folder, OSError.
    """
    verdict = _look(path, on_bytes)
    for _ in range(LOOKS_MAX - 1):
        if verdict.valid or verdict.in_use_by is None:
            return verdict
        again = _look(path, on_bytes)
        # Only what two looks have found is a problem and not a change during one of them.
        again.problems = [each for each in again.problems if each in verdict.problems]
        verdict = again
    return verdict


def _look(path: Path, on_bytes: OnBytes) -> Verdict:
    folder = read_folder(path)
    verdict = Verdict(str(path), folder.identity.node, folder.identity.cluster, folder.holder)
    for problem in folder.problems:
        verdict.add("saved", problem)
    if folder.flushed is not None:
        verdict.flushed = folder.flushed.end
    verdict.hw = folder.saved.hw
    if folder.saved.clean_shutdown is not None:
        verdict.clean = folder.saved.clean_shutdown[1]
    for other in folder.others:
        verdict.notes.append(f"{other.name} is from an earlier recovery or an unfinished write")
    _Walk(folder, verdict, on_bytes).run()
    _compare(folder, verdict)
    return verdict


class _Walk:
    """One read of all segments of a folder."""

    def __init__(self, folder: Folder, verdict: Verdict, on_bytes: OnBytes) -> None:
        self.folder = folder
        self.verdict = verdict
        self.on_bytes = on_bytes
        self.flushed = folder.flushed or Checkpoint(end=sys.maxsize)
        self.epochs = None if folder.epochs is None else EpochIndex(folder.epochs)
        # No limit: the log has all batches of each producer.
        self.producers = ProducerTable((), sys.maxsize)
        self.accept_sequence = Rules().accept_sequence
        self.found_checkpoint = False
        self.after_damage = False

    def run(self) -> None:
        folder, verdict = self.folder, self.verdict
        if not folder.segments:
            verdict.add(
                "log", f"{folder.path} has no segment; the broker replicates from its peers"
            )
            return
        verdict.log_start = verdict.leo = int(folder.segments[0].stem)
        for path in folder.segments:
            with LogFile(path) as log:
                log.epochs = verdict.epochs
                if log.base != verdict.leo:
                    verdict.add(
                        "order", f"{path.name} begins at {log.base}, expected {verdict.leo}"
                    )
                self._segment(log)
                verdict.leo = log.end
        if folder.flushed is not None and not self.found_checkpoint:
            verdict.add(
                "checkpoint",
                f"the flush checkpoint is offset {self.flushed.end} at byte "
                f"{self.flushed.position} of segment {self.flushed.segment}, where no batch of the "
                f"log ends; the log is valid up to offset {verdict.leo}",
            )

    def _segment(self, log: LogFile) -> None:
        flushed, verdict = self.flushed, self.verdict
        stop = log.size
        has_checkpoint = log.base == flushed.segment and self.folder.flushed is not None
        if has_checkpoint and self.folder.holder is not None:
            stop = min(stop, flushed.position)
            if log.size > stop:
                verdict.notes.append(
                    f"{log.size - stop} bytes above the flush checkpoint are not verified, because "
                    "a broker may be writing them"
                )
        self._at_boundary(log)
        for entry in log.entries(stop):
            if entry.error is not None:
                if self._is_end(log, entry, stop):
                    return
                continue
            assert entry.batch is not None
            log.position = entry.position
            self._batch(log, entry.batch)
            self._at_boundary(log)
            self.on_bytes(entry.batch.size)

    def _at_boundary(self, log: LogFile) -> None:
        flushed = self.flushed
        self.found_checkpoint = self.found_checkpoint or (
            (log.base, log.end, log.position) == (flushed.segment, flushed.end, flushed.position)
        )

    def _is_end(self, log: LogFile, entry: Entry, stop: int) -> bool:
        """Report bytes that are no batch; return whether they are the torn end of the log."""
        error, verdict = entry.error, self.verdict
        assert error is not None
        log.position = entry.position
        above = self.folder.flushed is not None and self.found_checkpoint
        unfinished = isinstance(error, Torn) or is_unwritten(log, error.size)
        if above and unfinished:
            verdict.torn_bytes = stop - entry.position
            verdict.notes.append(
                f"{verdict.torn_bytes} bytes at the end are an unfinished write above the flush "
                "checkpoint; the next start removes them"
            )
            return True
        verdict.add("batch", f"{log.path.name}: {error}")
        self.after_damage = True
        return False

    def _batch(self, log: LogFile, batch: Batch) -> None:
        verdict, below = self.verdict, batch.base_offset < self.flushed.end
        if self.after_damage:
            log.end, self.after_damage = batch.base_offset, False
        try:
            check_next(log, batch, self.epochs if below else None)
        except Misplaced as error:
            verdict.add("order", f"{log.path.name}: {error}")
        try:
            count = sum(1 for _ in records(batch))
            if count != batch.count:
                verdict.add("records", f"{batch!r} has {count} records")
        except UnsupportedCodec:
            count = batch.count  # the CRC is right; nothing more can be verified
        except BatchError as error:
            count = batch.count
            verdict.add("records", f"{batch!r}: {error}")
        known = self.producers.get(batch.producer_id)
        if batch.producer_id >= 0:
            result = self.accept_sequence(known, batch).result
            if result is not SequenceResult.ACCEPT:
                verdict.add(
                    "producers", f"{batch!r} is not the next batch of its producer: {result}"
                )
        self.producers.apply(
            batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.base_offset,
            batch.end,
        )  # fmt: skip
        log.advance(batch)
        verdict.batches += 1
        verdict.records += count
        verdict.bytes += batch.size


def _compare(folder: Folder, verdict: Verdict) -> None:
    """Compare the checkpoints and markers with the log."""
    flushed, stopped = folder.flushed, folder.holder is None
    if flushed is None:
        verdict.add("checkpoint", f"{CHECKPOINT} is missing or damaged")
    else:
        for flag, meaning in (
            (DAMAGED, "an earlier recovery found damage, and no flush has completed since"),
            (VERIFY, "a read found a damaged batch"),
            (REWRITE, "a flush failed; bytes above the checkpoint may not be on the disk"),
        ):
            if flushed.flags & flag:
                verdict.add("checkpoint", f"the flush checkpoint has a flag: {meaning}")
        _compare_epochs(folder, verdict, flushed.end)
    if not stopped:
        return
    if verdict.hw > verdict.leo:
        verdict.add(
            "hw",
            f"the high watermark checkpoint is {verdict.hw}, and the log ends at {verdict.leo}: "
            f"{verdict.hw - verdict.leo} committed records are missing",
        )
    if verdict.clean is not None and verdict.clean > verdict.leo:
        verdict.add(
            "clean",
            f"the clean-shutdown marker has the log end {verdict.clean}, and the log ends at "
            f"{verdict.leo}",
        )
    written = folder.written
    if written is not None and written.end > verdict.leo:
        verdict.notes.append(
            f"records were written up to {written.end}, and the log ends at {verdict.leo}: the "
            "next start has a new storage session"
        )


def _compare_epochs(folder: Folder, verdict: Verdict, end: Offset) -> None:
    """Compare the epoch checkpoint with the epochs of the log below the flush checkpoint."""
    of_log = [(int(epoch), start) for epoch, start in verdict.epochs if start < end]
    if folder.epochs is None:
        if of_log:
            verdict.notes.append(f"{EPOCHS} is missing; the next start rebuilds it from the log")
        return
    saved = [(int(epoch), start) for epoch, start in folder.epochs if start < end]
    if saved != of_log:
        verdict.add("epochs", f"{EPOCHS} has {saved}, and the log has {of_log} as epoch, start")
