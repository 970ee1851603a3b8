"""Verify the records that a consumer gets: offsets, epochs, and values of a known form.

The log is one sequence: offsets have no gap, and the leader epoch of a record is never lower than
that of the record before. The client has checked the CRC of each batch. Values of ``yak produce
--count`` are numbered, so a record that is missing, twice there or out of order is found. Records
at the end of a run may be missing because its producer stopped early: that is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from yak_net.client import numbered
from yak_net.client.consumer import ConsumerRecord

MISSING_MAX: Final = 100_000
"""Missing numbers of a run that are remembered: a late one is reordered, another one doubled."""


class Fault(StrEnum):
    """What can be wrong with a record."""

    GAP = "gap"
    """Offsets are missing before it."""
    BACK = "back"
    """Its offset is not above that of the record before."""
    EPOCH = "epoch"
    """Its leader epoch is lower than that of the record before."""
    MISSING = "missing"
    """Numbers of its run are missing before it."""
    DOUBLED = "doubled"
    """Its number was there before."""
    REORDERED = "reordered"
    """Its number was missing, and comes after higher ones."""
    UNREADABLE = "unreadable"
    """It could not be decoded, and was skipped."""


@dataclass
class Run:
    """The records of one run of ``yak produce --count`` that were seen."""

    total: int
    first: int
    next: int
    seen: int = 0
    missing: set[int] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        """Whether the last record of the run was seen."""
        return self.next >= self.total


class Verifier:
    """Checks records one after the other; ``report`` gets a sentence for the first of each fault.

    ``from_start`` says that the first record of the log is among them, so that runs must begin with
    number 0. ``counts`` has the number of each fault.
    """

    def __init__(self, report: Callable[[str], None], *, from_start: bool) -> None:
        self.counts: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.runs: dict[str, Run] = {}
        self.records = 0
        self.others = 0
        self.epochs: tuple[int, int] | None = None
        self.offsets: tuple[int, int] | None = None
        self._report = report
        self._from_start = from_start

    @property
    def valid(self) -> bool | None:
        """Whether all is well; None if a run has no end, so that records may be missing there."""
        if any(self.counts.values()):
            return False
        return True if all(run.is_complete for run in self.runs.values()) else None

    def see(self, record: ConsumerRecord) -> None:
        """Check the next record."""
        self.records += 1
        self._see_position(record.offset, record.leader_epoch)
        found = numbered.parse(record.value)
        if found is None:
            self.others += 1
        else:
            self._see_number(found, record.offset)

    def skip(self, first: int, end: int) -> None:
        """Note that the offsets [first, end) could not be decoded."""
        self._add(Fault.UNREADABLE, end - first, f"offsets {first} to {end - 1} cannot be decoded")
        self.offsets = (first if self.offsets is None else self.offsets[0], end - 1)

    def _see_position(self, offset: int, epoch: int) -> None:
        if self.offsets is not None and self.epochs is not None:
            before = self.offsets[1]
            if offset > before + 1:
                self._add(Fault.GAP, offset - before - 1, f"offset {before}, then {offset}")
            elif offset <= before:
                self._add(Fault.BACK, 1, f"offset {before}, then {offset}")
            if epoch < self.epochs[1]:
                what = f"epoch {self.epochs[1]}, then {epoch} at offset {offset}"
                self._add(Fault.EPOCH, 1, what)
        self.offsets = (offset if self.offsets is None else self.offsets[0], offset)
        lowest = epoch if self.epochs is None else self.epochs[0]
        self.epochs = (lowest, epoch)

    def _see_number(self, found: numbered.Numbered, offset: int) -> None:
        number, where = found.number, f"in run {found.run}, at offset {offset}"
        run = self.runs.get(found.run)
        if run is None:
            first = 0 if self._from_start else number
            run = self.runs[found.run] = Run(found.total, first, first)
        run.seen += 1
        if number == run.next:
            run.next += 1
        elif number > run.next:
            lacking = number - run.next
            self._add(Fault.MISSING, lacking, f"number {run.next} is missing {where}")
            run.missing.update(range(run.next, min(number, run.next + MISSING_MAX)))
            run.next = number + 1
        elif number in run.missing:
            run.missing.discard(number)
            self.counts[Fault.MISSING] -= 1
            self._add(Fault.REORDERED, 1, f"number {number} follows {run.next - 1} {where}")
        elif number < run.first:
            self._add(Fault.REORDERED, 1, f"number {number} follows {run.first} {where}")
        else:
            self._add(Fault.DOUBLED, 1, f"number {number} is there again {where}")

    def _add(self, fault: Fault, count: int, what: str) -> None:
        if not self.counts[fault]:
            self._report(f"{fault}: {what}")
        self.counts[fault] += count

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak consume --verify --json`` (docs/formats.md)."""
        first, last = self.offsets or (None, None)
        valid = self.valid
        return {
            "records": self.records,
            "first_offset": first,
            "last_offset": last,
            "epochs": None if self.epochs is None else list(self.epochs),
            "runs": {
                name: {"seen": run.seen, "total": run.total, "complete": run.is_complete}
                for name, run in self.runs.items()
            },
            "other_values": self.others,
            "faults": {str(fault): count for fault, count in self.counts.items()},
            "valid": "unknown" if valid is None else valid,
        }

    def summary(self) -> list[str]:
        """Return the result as lines of text."""
        line = f"{self.records} records"
        for name, limits in (("offsets", self.offsets), ("epochs", self.epochs)):
            line += "" if limits is None else f", {name} {limits[0]} to {limits[1]}"
        lines = [line]
        for name, run in self.runs.items():
            rest = run.total - run.next
            why = "the producer stopped early, or they are missing"
            end = "" if run.is_complete else f"; the last {rest} were not seen: {why}"
            lines.append(f"run {name}: {run.seen} of {run.total} records{end}")
        if self.others:
            lines.append(f"{self.others} records have values of another form")
        lines += [f"{fault}: {count}" for fault, count in self.counts.items() if count]
        verdict = {True: "true", False: "false", None: "unknown"}[self.valid]
        return [*lines, f"valid: {verdict}"]
