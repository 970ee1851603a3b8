"""Sweeps: one scenario with each combination of settings and each seed, summed up in a table."""

from __future__ import annotations

import csv
import io
import itertools
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

from yak_sim.run.catalog import load_scenario
from yak_sim.run.scenario import Setting, given_settings, run_scenario

BASIC: Final = ("records_sent", "records_acked", "simulated_us")
"""The figures of a table besides those that the scenario itself adds."""

WORLD_FIGURES: Final = frozenset(
    ("simulated_us", "steps", "messages_sent", "messages_lost", "messages_delivered")
    + ("records_sent", "records_acked", "records_read", "store_calls")
)
"""The figures that every run has."""


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a sweep: its settings and seed, its verdict and its figures."""

    settings: Mapping[str, Setting]
    seed: int
    valid: bool | str
    reason: str
    figures: Mapping[str, int]

    def flat(self) -> dict[str, Setting]:
        """Return the row as one dict: settings, seed, valid, figures, reason."""
        valid = self.valid if isinstance(self.valid, str) else str(self.valid).lower()
        start = {**self.settings, "seed": self.seed, "valid": valid}
        return {**start, **self.figures, "reason": self.reason}


def combinations(settings: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return each combination of values, in the order of the settings and their values."""
    names = list(settings)
    products = itertools.product(*settings.values())
    return [dict(zip(names, values, strict=True)) for values in products]


def sweep(
    reference: str,
    settings: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    jobs: int = 1,
    on_row: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Run a scenario with each combination of settings and each seed.

    ``reference`` is the name or the path of the scenario. The rows are in the order of the
    combinations and the seeds, for every number of processes (``jobs``). ``on_row`` is called after
    each run. Raise ValueError for an unknown scenario or setting, before the first run.
    """
    scenario = load_scenario(reference)
    combined = combinations(settings)
    for combination in combined:
        given_settings(scenario, combination)
    work = [(reference, combination, seed) for combination in combined for seed in seeds]
    rows = []
    with _executor(jobs) as executor:
        done = map(_run, work) if executor is None else executor.map(_run, work, chunksize=1)
        for row in done:
            rows.append(row)
            on_row()
    return rows


@contextmanager
def _executor(jobs: int) -> Iterator[Executor | None]:
    if jobs <= 1:
        yield None
        return
    executor = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _run(work: tuple[str, dict[str, str], int]) -> Row:
    reference, settings, seed = work
    result = run_scenario(load_scenario(reference), seed, settings)
    return Row(settings, seed, result.valid, result.reason, result.figures)


@dataclass(frozen=True, slots=True)
class Summary:
    """The runs of one combination: how many, how many valid, and the median of each figure."""

    settings: Mapping[str, Setting]
    runs: int
    valid: int
    medians: Mapping[str, float]


def summarise(rows: Sequence[Row], figures: Sequence[str] = ()) -> list[Summary]:
    """Return a summary per combination of settings, with the medians of these figures.

    Default: the figures that the scenario adds, and those of BASIC. A run that ended before it
    added a figure does not count for that figure. Raise ValueError for an unknown figure.
    """
    known = {name: None for row in rows for name in row.figures}
    for name in figures:
        if name not in known:
            raise ValueError(f"unknown figure {name!r}; expected one of {', '.join(known)}")
    shown = figures or [*BASIC, *(name for name in known if name not in WORLD_FIGURES)]
    groups: dict[tuple[tuple[str, Setting], ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.settings.items()), []).append(row)
    return [
        Summary(
            dict(key),
            len(group),
            sum(row.valid is True for row in group),
            {
                name: statistics.median(row.figures[name] for row in group if name in row.figures)
                for name in shown
                if any(name in row.figures for row in group)
            },
        )
        for key, group in groups.items()
    ]


def as_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV with a header; a figure that a run lacks is empty."""
    flat = [row.flat() for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row if name != "reason"))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, "reason"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def as_json_lines(rows: Sequence[Row]) -> str:
    """Return the rows as one JSON object per line."""
    return "".join(json.dumps(row.flat(), ensure_ascii=False) + "\n" for row in rows)
