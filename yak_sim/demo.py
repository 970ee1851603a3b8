"""``yak demo``: the main job from end to end; must never claim what it has not compared.

The lines of a file become records, a leader fails half-way, and what a consumer reads in the end is
compared with the lines, as lists of values.
"""

from __future__ import annotations

import itertools
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from yak_sim.cli import (
    EXIT_OF,
    HELP,
    INPUT_OPTION,
    OUT_OPTION,
    SEED_OPTION,
    carry_out,
    conclude,
    keep,
    load_scenario,
    read_lines,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yak_sim.outcome import RunResult

SCENARIO: Final = "leader_failover"
TAMPERINGS: Final = ("lost", "doubled", "swapped", "altered")


@click.command(context_settings=HELP)
@INPUT_OPTION
@OUT_OPTION
@SEED_OPTION
@click.option(
    "--tamper",
    type=click.Choice(TAMPERINGS),
    help="Damage what was read before it is compared, to see the demo fail.",
)
def demo(input_path: str | None, out: str, seed: int | None, tamper: str | None) -> None:
    """Replicate the lines of FILE through a failover, and compare what comes out with them.

    Three simulated brokers. At half of the lines the leader crashes, with committed, unreplicated
    and unflushed records in its hands. Every line must come out once, in order.
    """
    lines = default_lines() if input_path is None else read_lines(input_path)
    click.echo(f"{counted(len(lines), 'line')}, 3 simulated brokers, one failover")
    result = carry_out(load_scenario(SCENARIO), seed, lines, {})
    readers = result.world.consumers
    read = list(readers[0].values) if readers else []
    if tamper is not None:
        read = tampered(read, tamper)
    words = ["yak", "demo"] + ([] if input_path is None else ["--input", input_path])
    words += [] if seed is None else ["--seed", str(seed)]
    folder = keep(result, out, words)
    difference = first_difference(list(lines), read)
    _explain(result, len(lines), difference, folder)
    conclude(result, folder)
    sys.exit(1 if difference else EXIT_OF[result.valid])


def default_lines() -> tuple[bytes, ...]:
    """The lines of the text that comes with the project."""
    source = resources.files("scenarios") / "demo_lines.txt"
    with resources.as_file(source) as path:
        return read_lines(str(path))


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
            return f"line {number}, {wanted!r}, did not come out: {len(read)} of {len(sent)} did"
        if wanted is missing:
            return f"{len(read)} records came out of {len(sent)} lines; the first extra is {got!r}"
        return f"line {number} is {wanted!r}, but {got!r} came out"
    return ""


def tampered(read: Sequence[bytes | None], how: str) -> list[bytes | None]:
    """What was read, with one record lost, doubled, swapped with its successor, or altered."""
    damaged = list(read)
    at = len(damaged) // 2
    if how == "lost":
        del damaged[at]
    elif how == "doubled":
        damaged.insert(at, damaged[at])
    elif how == "altered":
        damaged[at] = (damaged[at] or b"") + b"?"
    else:
        other = next((i for i, value in enumerate(damaged) if value != damaged[at]), None)
        if other is None:
            raise click.UsageError("all lines are equal: swapping two of them changes nothing")
        damaged[at], damaged[other] = damaged[other], damaged[at]
    return damaged


def _explain(result: RunResult, count: int, difference: str, folder: Path) -> None:
    if difference:
        click.echo(f"NOT EQUAL: {difference}", err=True)
    else:
        said = f"{counted(count, 'line')} went in, {counted(count, 'record')} came out"
        click.echo(f"equal: {said}, the same, in order")
    click.echo(f"plot: {folder / 'watermarks.png'}")
    click.echo(f"trace, history, verdict: {folder}")
