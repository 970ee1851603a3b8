"""The command ``yak top``: the dashboard in a terminal, from the stream of the cluster."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from yak_net.client.cli_types import HELP, SERVERS, Time

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from yak_net.http.reports import BrokerRow, ClusterState
    from yak_net.metrics.elections import Election
    from yak_net.observe.cluster_feed import ClusterFeed

NOT_READY: Final = 10
MEASURED_S: Final = 1.0
"""Seconds of the stream before the first table: for rates, and reports of all brokers."""
FAILOVERS: Final = 5
_COLUMNS: Final = ("REPLICA", "ROLE", "ISR", "LEO", "HW", "LAG", "LAG-MS", "SEEN", "STATUS")
_NUMBERS: Final = ("LEO", "HW", "LAG", "LAG-MS", "SEEN")


@click.command(context_settings=HELP)
@click.option(
    "-d", "--delay", type=Time(), default="500ms", show_default=True, metavar="TIME",
    help="Time between two tables.",
)  # fmt: skip
@click.option(
    "-n", "--iterations", type=click.IntRange(min=1), metavar="N", help="Stop after N tables."
)
@click.option("--once", is_flag=True, help="Print one table; the same as -n 1.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per table.")
@SERVERS
def top(
    delay: float, iterations: int | None, once: bool, as_json: bool, servers: tuple[str, ...]
) -> None:
    """Show leader, replicas, rates, health and failovers as they change.

    A terminal is redrawn until q or Ctrl-C; a pipe gets one table after the other. When the
    broker that sends the state ends, another one continues.

    Exit codes: 0 the end by q, Ctrl-C or -n, 1 no broker answers, 10 no leader can commit records
    in the last table of -n or --once.
    """
    if delay <= 0:
        raise click.UsageError(f"--delay must be more than 0, got {delay:g}s")
    count = 1 if once else iterations
    sys.exit(asyncio.run(_run(servers, delay, count, as_json)))


async def _run(servers: Sequence[str], delay: float, count: int | None, as_json: bool) -> int:
    """Show the cluster until a signal, a key or the last table; return the exit code."""
    from yak_net.client.terminal import Interrupts
    from yak_net.observe.cluster_feed import ClusterFeed

    feed = ClusterFeed(servers)
    with Interrupts() as interrupts:
        reading = asyncio.create_task(feed.run())
        try:
            code = 0

            async def work() -> None:
                nonlocal code
                code = await _show(feed, servers, delay, count, as_json)

            await interrupts.run_until_signal(work())
            return code
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _show(
    feed: ClusterFeed, servers: Sequence[str], delay: float, count: int | None, as_json: bool
) -> int:
    while feed.state is None:
        if feed.unreachable:
            click.echo(
                f"Error: no broker answers at {', '.join(servers)}; check the address, and that "
                "the broker runs",
                err=True,
            )
            return 1
        await asyncio.sleep(0.02)
    await asyncio.sleep(MEASURED_S)
    if sys.stdout.isatty() and not as_json and count is None:
        await _redraw(feed, delay)
        return 0
    shown = 0
    while True:
        _print(feed, as_json)
        shown += 1
        if shown == count:
            break
        await asyncio.sleep(delay)
    verdict = feed.verdict()
    if verdict.ready is None and not feed.live:
        return 1
    return 0 if verdict.ready else NOT_READY


async def _redraw(feed: ClusterFeed, delay: float) -> None:
    from rich.console import Console
    from rich.live import Live

    quits = asyncio.Event()
    with (
        _keys(quits),
        Live(console=Console(), auto_refresh=False, screen=True) as live,
    ):
        while not quits.is_set():
            live.update(_screen(feed, is_terminal=True), refresh=True)
            try:
                async with asyncio.timeout(delay):
                    await quits.wait()
            except TimeoutError:
                continue


@contextmanager
def _keys(quits: asyncio.Event) -> Iterator[None]:
    """Set ``quits`` when q is typed; the terminal is as before at the end."""
    if not sys.stdin.isatty():
        yield
        return
    import os
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    loop = asyncio.get_running_loop()

    def on_key() -> None:
        typed = os.read(keyboard, 64)
        if not typed or b"q" in typed.lower():
            loop.remove_reader(keyboard)
            quits.set()

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, on_key)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _print(feed: ClusterFeed, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(as_object(feed)))
        return
    from rich.console import Console

    from yak_net.cluster.status import PIPE_COLUMNS

    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    Console(width=width).print(_screen(feed, is_terminal=False))
    click.echo()


def as_object(feed: ClusterFeed) -> dict[str, object]:
    """Return the object of ``yak top --json`` (docs/formats.md)."""
    from msgspec import to_builtins

    verdict = feed.verdict()
    records, nbytes = feed.rates()
    return {
        "live": feed.live,
        "age_ms": int(feed.age_s() * 1_000),
        "source": feed.source,
        "lost": feed.lost or None,
        "ready": verdict.ready,
        "reason": verdict.reason,
        "records_per_s": records,
        "bytes_per_s": nbytes,
        "state": to_builtins(feed.state),
        "elections": to_builtins(feed.timeline.elections),
    }


def _screen(feed: ClusterFeed, *, is_terminal: bool) -> Group:
    """Return all that a table shows."""
    from rich.console import Group
    from rich.text import Text

    state = feed.state
    assert state is not None, "the first state has come"
    verdict = feed.verdict()
    health = {True: "ready", False: "not ready", None: "unknown"}[verdict.ready]
    colour = {True: "green", False: "red", None: "yellow"}[verdict.ready]
    if verdict.ready and verdict.reason:
        colour = "yellow"
    parts: list[Text | Table] = [
        Text(_source(feed), "" if feed.live else "bold yellow"),
        Text(summary(state), "bold"),
        Text(_rates(feed)),
        Text(f"{health}{f': {verdict.reason}' if verdict.reason else ''}", f"bold {colour}"),
        Text(""),
        _table(state, feed.age_s()),
        Text(""),
        *(Text(line) for line in failovers(feed.timeline.elections)),
    ]
    if is_terminal:
        parts += [Text(""), Text("q or Ctrl-C: quit", "dim")]
    return Group(*parts)


def _source(feed: ClusterFeed) -> str:
    moved = f"connection to {feed.lost} lost, " if feed.lost else ""
    if feed.live:
        return f"{moved}{'now reading' if moved else 'reading'} from {feed.source}"
    return f"stale: {moved}these numbers are {feed.age_s():.1f} s old; trying {feed.urls[0]}"


def summary(state: ClusterState) -> str:
    """Return the line on the cluster, in the form of ``yak describe``."""
    under = state.min_isr is not None and len(state.isr) < state.min_isr
    fields = {
        "Cluster": state.cluster,
        "Leader": state.leader or "none",
        "Epoch": _text(state.epoch),
        "Isr": ",".join(state.isr) or "-",
        "Min-isr": f"{_text(state.min_isr)}{' (the ISR is below)' if under else ''}",
        "HW": _text(state.hw),
    }
    return "  ".join(f"{name}: {value}" for name, value in fields.items())


def _rates(feed: ClusterFeed) -> str:
    assert feed.state is not None
    records, nbytes = feed.rates()
    answers = {row.store_answers for row in feed.state.brokers if row.up} - {None}
    store = "no answer to some brokers"
    if len(answers) < 2:
        store = "answers" if True in answers else "no answer" if False in answers else "unknown"
    return (
        f"Committed: {'-' if records is None else f'{records:,.0f}'} records/s  "
        f"Appended: {'-' if nbytes is None else f'{nbytes / 1e3:,.0f}'} KB/s  "
        f"Store: {store}"
    )


def _table(state: ClusterState, age_s: float) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=True)
    for row in state.brokers:
        style = "red" if row.up is False else "bold" if row.id == state.leader else ""
        table.add_row(*_cells(row, age_s), style=style)
    return table


def _cells(row: BrokerRow, age_s: float) -> tuple[str, ...]:
    isr = "yes" if row.in_isr else "eligible" if row.in_elr else "no"
    numbers = map(_text, (row.leo, row.hw, row.lag_records, row.lag_ms))
    seen = "-" if row.age_ms is None else f"{row.age_ms / 1_000 + age_s:.1f}s"
    status = "down" if row.up is False else row.status or "unknown"
    return (row.id, row.role or "-", isr, *numbers, seen, status)


def failovers(elections: Sequence[Election]) -> list[str]:
    """Return a line for each of the newest elections, newest first."""
    lines = ["FAILOVERS"]
    for one in reversed(elections[-FAILOVERS:]):
        at = time.strftime("%H:%M:%S", time.localtime(one.at_ms / 1_000))
        times = [
            f"{name} {'-' if ms is None else f'{ms} ms'}"
            for name, ms in (
                ("detect", one.detect_ms),
                ("elect", one.elect_ms),
                ("first ack", one.first_ack_ms),
            )
        ]
        lines.append(f"{at}  epoch {one.epoch}: {one.leader} leads  {', '.join(times)}")
    return lines if len(lines) > 1 else ["FAILOVERS", "none yet"]


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)
