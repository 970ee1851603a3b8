"""The command ``yak describe``: the leader, the ISR and each replica, once or as they change."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from yak_net.client.cli_types import HELP, SERVERS, Time

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from yak_net.observe.replicas import Description, Replica

NOT_READY: Final = 10
_COLUMNS: Final = (
    "REPLICA",
    "STATE",
    "ROLE",
    "ISR",
    "LEO",
    "HW",
    "LAG",
    "LAG-MS",
    "URL",
)
_NUMBERS: Final = ("LEO", "HW", "LAG", "LAG-MS")


@click.command(context_settings=HELP)
@click.option("-w", "--watch", is_flag=True, help="Show each change until Ctrl-C.")
@click.option(
    "--interval",
    type=Time(),
    default="500ms",
    show_default=True,
    metavar="TIME",
    help="Time between two looks of --watch.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per look.")
@SERVERS
def describe(watch: bool, interval: float, as_json: bool, servers: tuple[str, ...]) -> None:
    """Show the leader, its epoch, the ISR, and log end, HW and lag of each replica.

    With --watch, a terminal is redrawn; a pipe gets each state that differs from the one before.

    Exit codes: 0 a leader can commit records, 1 no broker answers, 10 no leader can commit
    records (the reason is on standard error). With --watch, Ctrl-C is the normal end, 0.
    """
    if watch:
        sys.exit(asyncio.run(_watch(servers, interval, as_json)))
    from yak_net.cluster.errors import ClusterError
    from yak_net.observe import replicas

    try:
        found = asyncio.run(replicas.describe(servers))
    except ClusterError as error:
        raise click.ClickException(str(error)) from error
    _print(found, as_json)
    for problem in problems(found):
        click.echo(problem, err=True)
    sys.exit(0 if found.ready else NOT_READY)


def problems(found: Description) -> list[str]:
    """Return why the cluster is not ready, and what is wrong with each replica."""
    first = [] if found.ready else [f"not ready: {found.reason}"]
    return [*first, *(row.reason for row in found.replicas if row.reason)]


async def _watch(servers: Sequence[str], interval: float, as_json: bool) -> int:
    """Show the cluster until a signal; return the exit code."""
    from yak_net.client.terminal import Interrupts

    with Interrupts() as interrupts:
        live = sys.stdout.isatty() and not as_json
        work = _redraw(servers, interval) if live else _print_changes(servers, interval, as_json)
        await interrupts.run_until_signal(work)
    return 0


async def _look(servers: Sequence[str]) -> Description | str:
    """Return the description, or why there is none."""
    from yak_net.cluster.errors import ClusterError
    from yak_net.observe import replicas

    try:
        return await replicas.describe(servers)
    except ClusterError as error:
        return str(error)


async def _print_changes(servers: Sequence[str], interval: float, as_json: bool) -> None:
    before: Description | str | None = None
    while True:
        found = await _look(servers)
        if found != before:
            if isinstance(found, str):
                click.echo(found, err=True)
            else:
                _print(found, as_json)
                if not as_json:
                    click.echo("\n".join([*problems(found), ""]))
        before = found
        await asyncio.sleep(interval)


async def _redraw(servers: Sequence[str], interval: float) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            found = await _look(servers)
            parts: list[RenderableType] = [Text(found)] if isinstance(found, str) else []
            if not isinstance(found, str):
                parts = [Text(summary(found)), _table(found)]
                parts += [Text(problem) for problem in problems(found)]
            live.update(Group(*parts), refresh=True)
            await asyncio.sleep(interval)


def summary(found: Description) -> str:
    """Return the line on the cluster, in the form of ``kafka-topics --describe``."""
    fields = {
        "Cluster": found.cluster,
        "Leader": found.leader or "none",
        "Epoch": _text(found.epoch),
        "Isr": ",".join(found.isr) or "-",
        "Elr": ",".join(found.elr) or "-",
        "HW": _text(found.hw),
        "Version": _text(found.version),
    }
    return "\t".join(f"{name}: {value}" for name, value in fields.items())


def _print(found: Description, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    click.echo(summary(found))
    _console().print(_table(found))


def _console() -> Console:
    from rich.console import Console

    from yak_net.cluster.status import PIPE_COLUMNS

    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def _table(found: Description) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=True)
    for row in found.replicas:
        table.add_row(*_cells(row))
    return table


def _cells(row: Replica) -> tuple[str, ...]:
    isr = "yes" if row.in_isr else "eligible" if row.in_elr else "no"
    numbers = map(_text, (row.leo, row.hw, row.lag, row.lag_ms))
    return (row.id, row.state, row.role or "-", isr, *numbers, row.url or "-")


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)
