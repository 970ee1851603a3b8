"""What ``yak cluster`` shows on a terminal or in a pipe; must never fail where nobody reads it."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import TracebackType
from typing import Any

import click

from yak_net.cluster.service import FAILED, LINE, READY
from yak_net.cluster.status import RUNNING, BrokerStatus, ClusterStatus

WIDTH_OF_PIPES = 400
"""Where no terminal is, no line is broken."""


class Printer:
    """Prints what a start reports; on a terminal it shows meanwhile that it is at work."""

    def __init__(self) -> None:
        self._spinner: Any = None

    def __enter__(self) -> Printer:
        """Begin to show progress, if somebody sees it."""
        if sys.stderr.isatty():
            from rich.console import Console

            self._spinner = Console(stderr=True).status("starting brokers, waiting for a leader")
            self._spinner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show no progress any more."""
        if self._spinner is not None:
            self._spinner.stop()

    def tell(self, kind: str, text: str) -> None:
        """Print a report: the result on standard output, all else on standard error."""
        if self._spinner is not None:
            self._spinner.stop()
        # The cluster goes on though nobody reads about it.
        with suppress(OSError):
            click.echo(f"Error: {text}" if kind == FAILED else text, err=kind not in (LINE, READY))
        if self._spinner is not None:
            if kind in (READY, FAILED):
                self._spinner = None
            else:
                self._spinner.start()


def show_status(status: ClusterStatus) -> None:
    """A line on the cluster, and a row for each broker."""
    from rich.console import Console
    from rich.table import Table

    leader = f"leader {status.leader}" if status.leader else "no leader"
    if status.leader and not status.serves:
        leader += " (does not serve)"
    words = [leader]
    if status.epoch is not None:
        words += [f"epoch {status.epoch}", f"ISR {' '.join(status.isr)}", f"HW {status.hw}"]
    click.echo(f"cluster {status.cluster}: {', '.join(words)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("NODE", "STATE", "PID", "ROLE", "LEO", "HW", "URL"):
        right = name in ("PID", "LEO", "HW")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in status.brokers:
        cells = (row.id, _state(row), row.pid, row.role, row.leo, row.hw, row.url)
        table.add_row(*("-" if cell is None else str(cell) for cell in cells))
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_PIPES).print(table)
    for row in status.brokers:
        if row.trouble:
            click.echo(row.trouble, err=True)


def _state(row: BrokerStatus) -> str:
    if row.state != RUNNING:
        return row.state
    return row.health or "no answer"


def show_line(node: str, line: str) -> None:
    """One line of a log."""
    click.echo(f"{node} | {line}" if node else line)
