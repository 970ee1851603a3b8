"""The simulated half of ``yak demo``.

The lines of a file become records. The leader crashes after half of them. At the end the records
that a consumer has read are compared with the lines.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from yak_sim.cli import (
    exit_code,
    make_folder,
    print_verdict,
    read_lines,
    run_and_narrate,
    save_run,
)
from yak_sim.cli_common import load
from yak_sim.run.catalog import Catalog
from yak_sim.world.expect import Expectation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yak_sim.run.verdict import RunResult

SCENARIO: Final = "leader_failover"
LINES: Final = "demo_lines.txt"
TAMPERINGS: Final = ("lost", "doubled", "swapped", "altered")

SHOWN_MAX: Final = 80
"""Maximum length of a value in an error message, in characters."""


def lines_of(catalog: Catalog, input_path: str | None, tamper: str | None) -> tuple[bytes, ...]:
    """Return the lines of the input, or of the default text. Raise a click error."""
    lines = read_lines(input_path or str(catalog.folder / LINES))
    if tamper == "swapped" and len(set(lines)) == 1:
        raise click.UsageError("all lines are equal, so --tamper swapped has no effect")
    return lines


def run_simulated(
    catalog: Catalog,
    lines: tuple[bytes, ...],
    out: str,
    seed: int | None,
    tamper: str | None,
    command: list[str],
) -> int:
    """Run the simulated half, write its run folder and return the exit code.

    After half of the lines the leader crashes. At that moment its log holds committed, unreplicated
    and unflushed records. ``command`` is the command that repeats the run.
    """
    scenario = load(catalog, SCENARIO)
    make_folder(out, scenario, scenario.seed if seed is None else seed, {})
    click.echo(f"{counted(len(lines), 'line')}, 3 simulated brokers, one failover")
    result = run_and_narrate(scenario, seed, lines, {})
    readers = result.world.consumers
    read = list(readers[0].values) if readers else []
    if tamper is not None:
        read = tampered(read, tamper)
    difference = first_difference(list(lines), read)
    if difference:
        result = _with_difference(result, len(lines), difference)
    folder = save_run(result, out, command)
    print_comparison(len(lines), difference)
    click.echo(f"plot: {folder / 'watermarks.png'}")
    click.echo(f"trace, history, verdict: {folder}")
    print_verdict(result, folder)
    return exit_code(result)


def counted(number: int, noun: str) -> str:
    """Return ``1 line``, ``2 lines`` and so on."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_difference(sent: Sequence[bytes], read: Sequence[bytes | None]) -> str:
    """Describe the first difference of two lists of values; empty if they are equal."""
    missing = object()
    pairs = itertools.zip_longest(sent, read, fillvalue=missing)
    for number, (expected, actual) in enumerate(pairs, 1):
        if expected == actual and expected is not missing:
            continue
        if actual is missing:
            line = f"line {number}, {_short(expected)}"
            return f"no record for {line}: read {len(read)} of {len(sent)} records"
        if expected is missing:
            extra = f"the first extra record is {_short(actual)}"
            counts = f"{counted(len(read), 'record')} for {counted(len(sent), 'line')}"
            return f"{counts}; {extra}"
        return f"record {_short(actual)} instead of line {number}, {_short(expected)}"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 3]}..."


def tampered(read: Sequence[bytes | None], tampering: str) -> list[bytes | None]:
    """Return the records with one of them lost, doubled, swapped with another, or altered."""
    damaged = list(read)
    at = len(damaged) // 2
    if not damaged:
        return damaged
    if tampering == "lost":
        del damaged[at]
    elif tampering == "doubled":
        damaged.insert(at, damaged[at])
    elif tampering == "altered":
        damaged[at] = (damaged[at] or b"") + b"?"
    else:
        other = next((i for i, value in enumerate(damaged) if value != damaged[at]), None)
        assert other is not None, "all values are equal"
        damaged[at], damaged[other] = damaged[other], damaged[at]
    return damaged


def _with_difference(result: RunResult, count: int, difference: str) -> RunResult:
    """Add the difference as a failed expectation; a valid run becomes invalid."""
    sentence = "The records read are the lines sent"
    expected = f"{counted(count, 'line')}, each once and in order"
    failed = Expectation(sentence, False, expected, difference)
    result = replace(result, expectations=(*result.expectations, failed))
    if result.valid is not True:
        return result
    return replace(
        result, valid=False, reason=f"{sentence}: expected {expected}, found {difference}"
    )


def print_comparison(count: int, difference: str) -> None:
    """Print that the records equal the lines, if there is no difference."""
    if not difference:
        counts = f"{counted(count, 'line')} sent, {counted(count, 'record')} read"
        click.echo(f"equal: {counts}, same values in the same order")
