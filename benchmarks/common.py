"""Common code of the benchmarks: timing, interleaved rounds, medians, output.

Other load on the machine distorts every figure, but it distorts compared figures about equally. All
subjects of a benchmark therefore run in one process, one after the other in each round, and the
medians of the rounds are compared. Times are CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final, TypeAlias

ROUNDS: Final = 3
QUICK_ROUNDS: Final = 1
PIPE_COLUMNS: Final = 160

Measurement: TypeAlias = Callable[[], "Measured"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: units of work, and the CPU seconds they took."""

    units: int
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Return the units per CPU second."""
        return self.units / self.cpu_s


@dataclass(frozen=True, slots=True)
class Row:
    """One line of output (docs/formats.md).

    ``ratio`` is ours / theirs. ``theirs`` and ``ratio`` are None for a figure without a peer.
    ``skipped`` is the reason for a missing peer; then ``ours`` is None too.
    """

    figure: str
    peer: str | None
    size: str
    ours: float | None = None
    theirs: float | None = None
    skipped: str | None = None

    @property
    def ratio(self) -> float | None:
        """Return ours / theirs, None if one of them is missing."""
        if self.ours is None or not self.theirs:
            return None
        return self.ours / self.theirs

    def line(self) -> str:
        """Return the row as one JSON object."""
        fields: dict[str, object] = asdict(self)
        for name in ("ours", "theirs"):
            fields[name] = _rounded(getattr(self, name))
        ratio = self.ratio
        fields["ratio"] = None if ratio is None else round(ratio, 4)
        if fields.pop("skipped") is not None:
            fields["skipped"] = self.skipped
        return json.dumps(fields)


def parse_options(
    parser: argparse.ArgumentParser, amount: str, default: float, quick: float, unit: str
) -> argparse.Namespace:
    """Add the options of all benchmarks to ``parser``, parse the command line and return it.

    ``amount`` is the name of the option for the size of a measurement in ``unit``. Its default is
    ``default``, and ``quick`` with ``--quick``.
    """
    parser.add_argument("--quick", action="store_true", help=f"one round, {quick:,} {unit}")
    parser.add_argument("--rounds", type=int, help="number of rounds; the median is reported")
    parser.add_argument(f"--{amount}", type=type(default), help=f"number of {unit}")
    options = parser.parse_args()
    rounds, size = (QUICK_ROUNDS, quick) if options.quick else (ROUNDS, default)
    options.rounds = options.rounds or rounds
    setattr(options, amount, getattr(options, amount) or size)
    return options


def timed(work: Callable[[], int]) -> Measured:
    """Measure ``work``, which returns its units, with the garbage collector off."""
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = time.process_time()
        units = work()
        # The CPU clock may not advance during very short work.
        return Measured(units, max(time.process_time() - began, 1e-9))
    finally:
        if collecting:
            gc.enable()


def interleaved(subjects: Mapping[str, Measurement], rounds: int) -> dict[str, list[Measured]]:
    """Measure all subjects in turn, once per round, and return all measurements."""
    found: dict[str, list[Measured]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, work in subjects.items():
            found[name].append(work())
    return found


def rate(measured: Iterable[Measured]) -> float:
    """Return the median of the units per CPU second."""
    return median(each.per_s for each in measured)


def show(title: str, rows: Iterable[Row]) -> None:
    """Print the lines, and on a terminal also a table."""
    listed = list(rows)
    for row in listed:
        print(row.line(), flush=True)
    if sys.stdout.isatty():
        _table(title, listed)


def show_rows(title: str, rows: Iterable[Row], as_json: bool) -> None:
    """Print the lines as JSON, or else a table."""
    listed = list(rows)
    if not as_json:
        _table(title, listed)
        return
    for row in listed:
        print(row.line(), flush=True)


def _table(title: str, rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    system = f"Python {platform.python_version()}, {platform.machine()}"
    table = Table(title=f"{title} ({system})")
    table.add_column("figure")
    table.add_column("size")
    table.add_column("ours", justify="right")
    table.add_column("peer")
    table.add_column("theirs", justify="right")
    table.add_column("ratio", justify="right")
    for row in rows:
        ratio = row.ratio
        table.add_row(
            row.figure,
            row.size,
            row.skipped if row.skipped is not None else _text(row.ours),
            row.peer or "",
            _text(row.theirs),
            "" if ratio is None else f"{ratio:.3g}",
        )
    # In a pipe, lines are not cut to the width of a terminal that is not there.
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


def _rounded(value: float | None) -> float | None:
    """Round to four significant digits; the figures are not more precise."""
    return None if value is None else float(f"{value:.4g}")


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
