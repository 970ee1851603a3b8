"""``yak sim sweep``: a scenario with several settings and seeds, as a table, CSV or JSON."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from yak_sim.cli_common import SEED_MAX, CommandLineError

if TYPE_CHECKING:
    from rich.table import Table

    from yak_sim.search.sweep import Row, Summary

RUNS_MAX = 100_000


def _seeds(_ctx: click.Context, _param: click.Parameter, text: str) -> range:
    """Parse ``7`` or ``1-50``."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not 0 <= first <= last <= SEED_MAX:
        raise click.BadParameter(f"expected a seed or a range such as 1-50, got {text!r}")
    return range(first, last + 1)


def _lists(
    _ctx: click.Context, _param: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, list[str]]:
    """Parse ``name=value,value``."""
    settings: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, values = pair.partition("=")
        if not equals or not name or not all(values.split(",")):
            raise click.BadParameter(f"expected name=value,value, got {pair!r}")
        if name in settings:
            raise click.BadParameter(f"{name} is given twice; write {name}=value,value")
        settings[name] = list(dict.fromkeys(values.split(",")))
    return settings


@click.command("sweep", short_help="Run a scenario with many settings and seeds.")
@click.argument("scenario", metavar="SCENARIO")
@click.option(
    "--set", "settings", multiple=True, callback=_lists, metavar="NAME=V1,V2",
    help="Values of a setting; each combination runs.",
)
@click.option(
    "--seeds", default="1-20", show_default=True, callback=_seeds, metavar="A-B",
    help="Range of seeds.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, metavar="J",
    help="Number of processes; the output is the same.",
)
@click.option(
    "--figure", "figures", multiple=True, metavar="NAME",
    help="Figure to show; repeatable. Default: those of the scenario, and the records and the "
    "simulated time of each run.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table",
    show_default=True, help="A table of medians, or a line per run.",
)
def sweep_command(
    scenario: str, settings: dict[str, list[str]], seeds: range, **options: Any
) -> None:
    """Run SCENARIO with each combination of settings and each seed, and print its figures.

    The table has a row per combination with the number of valid runs and the median of each figure.
    CSV and JSON have a line per run. Exit codes: 0 all runs are valid, 1 a run is not valid, 3 a
    run is unknown.
    """
    from yak_sim.search.sweep import as_csv, as_json_lines, combinations, summarise

    runs = len(combinations(settings)) * len(seeds)
    if runs > RUNS_MAX:
        raise CommandLineError(f"{runs} runs are too many, the maximum is {RUNS_MAX}")
    try:
        rows = _run_all(scenario, settings, seeds, options["jobs"], runs)
        if options["form"] == "table":
            _print_table(summarise(rows, options["figures"]), list(settings))
        else:
            text = as_csv(rows) if options["form"] == "csv" else as_json_lines(rows)
            click.echo(text, nl=False)
    except ValueError as error:
        raise CommandLineError(str(error)) from error
    sys.exit(_exit_code(rows))


def _run_all(
    scenario: str, settings: dict[str, list[str]], seeds: range, jobs: int, runs: int
) -> list[Row]:
    """Run the sweep, with a progress bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    from yak_sim.search.sweep import sweep

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("runs", total=runs)
        return sweep(scenario, settings, seeds, jobs, lambda: bar.advance(task))


def _print_table(summaries: list[Summary], names: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    figures = list(dict.fromkeys(name for summary in summaries for name in summary.medians))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (*names, "valid", *figures):
        table.add_column(name, justify="right", no_wrap=True)
    for summary in summaries:
        medians = [_number(summary.medians.get(name)) for name in figures]
        valid = f"{summary.valid}/{summary.runs}"
        table.add_row(*(str(summary.settings[name]) for name in names), valid, *medians)
    # A pipe has no width: a line per row is easier to read and to cut than a wrapped one.
    console = Console() if sys.stdout.isatty() else Console(width=_width_of(table))
    console.print(table)


def _width_of(table: Table) -> int:
    from rich.console import Console

    return Console(width=10_000).measure(table).maximum


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


def _exit_code(rows: list[Row]) -> int:
    verdicts = {row.valid for row in rows}
    return 1 if False in verdicts else 3 if "unknown" in verdicts else 0
