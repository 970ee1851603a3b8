"""The simulated half of ``yak demo``; must never claim what it has not compared.

The lines of a file become records, a leader fails half-way, and what a consumer reads in the end is
compared with the lines, as lists of values.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from yak_sim.cli import carry_out, conclude, exit_code, keep, make_folder, read_lines
from yak_sim.run.catalog import Catalog
from yak_sim.world.expect import Expectation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yak_sim.run.verdict import RunResult

SCENARIO: Final = "leader_failover"
LINES: Final = "demo_lines.txt"
TAMPERINGS: Final = ("lost", "doubled", "swapped", "altered")

SHOWN_MAX: Final = 80
"""So much of a value is shown when it is not what it should be."""


def lines_of(catalog: Catalog, input_path: str | None, tamper: str | None) -> tuple[bytes, ...]:
    """The lines of the input, or of the text beside the scenarios. Raises click's errors."""
    lines = read_lines(input_path or str(catalog.folder / LINES))
    if tamper == "swapped" and len(set(lines)) == 1:
        raise click.UsageError("all lines are equal: swapping two of them changes nothing")
    return lines


def run_simulated(
    catalog: Catalog,
    lines: tuple[bytes, ...],
    out: str,
    seed: int | None,
    tamper: str | None,
    words: list[str],
) -> int:
    """The simulated half: tells its story, keeps its run folder, returns the exit code.

    At half of the lines the leader crashes, with committed, unreplicated and unflushed records in
    its hands. ``words`` is the command that repeats the run.
    """
    story = catalog.load(SCENARIO)
    make_folder(out, story.name, story.seed if seed is None else seed)
    click.echo(f"{counted(len(lines), 'line')}, 3 simulated brokers, one failover")
    result = carry_out(story, seed, lines, {})
    readers = result.world.consumers
    read = list(readers[0].values) if readers else []
    if tamper is not None:
        read = tampered(read, tamper)
    difference = first_difference(list(lines), read)
    if difference:
        result = _condemned(result, len(lines), difference)
    folder = keep(result, out, words)
    tell_comparison(len(lines), difference)
    click.echo(f"plot: {folder / 'watermarks.png'}")
    click.echo(f"trace, history, verdict: {folder}")
    conclude(result, folder)
    return exit_code(result)


def counted(number: int, word: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def first_difference(sent: Sequence[bytes], read: Sequence[bytes | None]) -> str:
    """Where two lists of values differ first, in words; empty when they are equal."""
    missing = object()
    pairs = itertools.zip_longest(sent, read, fillvalue=missing)
    for number, (wanted, got) in enumerate(pairs, 1):
        if wanted == got and wanted is not missing:
            continue
        if got is missing:
            line = f"line {number}, {_short(wanted)},"
            return f"{line} did not come out: {len(read)} of {len(sent)} did"
        if wanted is missing:
            extra = f"the first extra is {_short(got)}"
            return f"{len(read)} records came out of {len(sent)} lines; {extra}"
        return f"line {number} is {_short(wanted)}, but {_short(got)} came out"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 3]}..."


def tampered(read: Sequence[bytes | None], how: str) -> list[bytes | None]:
    """What was read, with one record lost, doubled, swapped with another, or altered."""
    damaged = list(read)
    at = len(damaged) // 2
    if not damaged:
        return damaged
    if how == "lost":
        del damaged[at]
    elif how == "doubled":
        damaged.insert(at, damaged[at])
    elif how == "altered":
        damaged[at] = (damaged[at] or b"") + b"?"
    else:
        other = next((i for i, value in enumerate(damaged) if value != damaged[at]), None)
        assert other is not None, "not all are equal"
        damaged[at], damaged[other] = damaged[other], damaged[at]
    return damaged


def _condemned(result: RunResult, count: int, difference: str) -> RunResult:
    """The result with the difference as a failed expectation, which fails a valid run."""
    sentence = "What came out is what went in"
    expected = f"{counted(count, 'line')}, each once and in order"
    failed = Expectation(sentence, False, expected, difference)
    result = replace(result, expectations=(*result.expectations, failed))
    if result.valid is not True:
        return result
    return replace(
        result, valid=False, reason=f"{sentence}: expected {expected}; but {difference}."
    )


def tell_comparison(count: int, difference: str) -> None:
    """Say that what came out is what went in, if so."""
    if not difference:
        said = f"{counted(count, 'line')} went in, {counted(count, 'record')} came out"
        click.echo(f"equal: {said}, the same, in order")
