"""The command ``yak offsets``: the ends of the log, and an offset by time."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from yak_net.client.cli_types import HELP, SERVERS, ClientCommand, Named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yak_net.client.offset_lookup import Found

EARLIEST: Final = ("earliest", "-2")
LATEST: Final = ("latest", "-1", "hw")
_ABSENT: Final = {
    "--topic": "there is one log",
    "-t": "there is one log",
    "--partitions": "there is one partition",
    "--topic-partitions": "there is one partition",
    "--exclude-internal-topics": "there is one log",
    "--command-config": "there is no configuration file; use options or YAK_BOOTSTRAP_SERVERS",
}


@dataclass(frozen=True)
class Ends:
    """The ends of the log: first offset, high watermark, and the leader's log end if it is known.

    Consumers read [``earliest``, ``latest``); the records from ``latest`` on are not committed.
    """

    earliest: int
    latest: int
    leader: str | None
    leo: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``yak offsets --json`` (docs/formats.md)."""
        return {
            "earliest": self.earliest,
            "latest": self.latest,
            "hw": self.latest,
            "leo": self.leo,
            "leader": self.leader,
        }


@click.command(cls=ClientCommand, absent=_ABSENT, context_settings=HELP)
@click.option(
    "--time",
    "when",
    metavar="TIME",
    cls=Named,
    aliases=("--timestamp",),
    help="earliest, latest, ms since 1970, or an ISO time: print one offset.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@SERVERS
def offsets(when: str | None, as_json: bool, servers: tuple[str, ...]) -> None:
    """Print the first offset, the high watermark, and the leader's log end.

    With --time, print one offset. For a time, that is the first record whose timestamp is that time
    or later; -1 if there is none.

    Exit codes: 0 success, 1 no leader answers, 2 invalid command line.
    """
    from yak_net.client.errors import YakError

    time_ms = _time_of(when)
    try:
        if time_ms is not None:
            _print_found(asyncio.run(_look_up(servers, time_ms)), time_ms, as_json)
            return
        found = asyncio.run(_ends(servers))
    except YakError as error:
        raise click.ClickException(str(error)) from error
    if when is not None:
        name = "earliest" if when in EARLIEST else "latest"
        offset = found.earliest if name == "earliest" else found.latest
        click.echo(json.dumps({"time": name, "offset": offset}) if as_json else str(offset))
    elif as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        leo = "unknown" if found.leo is None else str(found.leo)
        click.echo(f"earliest         {found.earliest}")
        click.echo(f"latest (HW)      {found.latest}")
        click.echo(f"leader's log end {leo}")


def _time_of(when: str | None) -> int | None:
    """Return the time in ms; None for a word. Raises a usage error."""
    from yak_net.client.offset_lookup import parse_time

    if when is None or when in (*EARLIEST, *LATEST):
        return None
    if when == "-3":
        raise click.UsageError("the largest timestamp cannot be looked up; give a time, or latest")
    try:
        return parse_time(when)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


async def _ends(servers: Sequence[str]) -> Ends:
    """Return the ends, from the leader. Raises YakError."""
    from yak_net.client.consumer import Consumer
    from yak_net.cluster.errors import ClusterError
    from yak_net.cluster.status_requests import remote_status

    async with Consumer(servers, auto_offset_reset="earliest") as consumer:
        earliest, latest = await consumer.position(), await consumer.end_offset()
    try:
        status = await remote_status(servers)
    except ClusterError:
        return Ends(earliest, latest, None, None)
    row = next((row for row in status.brokers if row.id == status.leader), None)
    return Ends(earliest, latest, status.leader, None if row is None else row.leo)


async def _look_up(servers: Sequence[str], time_ms: int) -> Found:
    from yak_net.client.offset_lookup import offset_at_time
    from yak_net.client.terminal import Amount, show_progress

    seen = 0

    def on_records(count: int) -> None:
        nonlocal seen
        seen += count

    progress = None
    if sys.stderr.isatty():
        shown = show_progress(lambda: "looking for the time", lambda: Amount(seen))
        progress = asyncio.create_task(shown)
    try:
        return await offset_at_time(servers, time_ms, on_records)
    finally:
        if progress is not None:
            progress.cancel()
            await asyncio.wait((progress,))


def _print_found(found: Found, time_ms: int, as_json: bool) -> None:
    offset = -1 if found.offset is None else found.offset
    if as_json:
        body = {"time": time_ms, "offset": offset, "timestamp_ms": found.timestamp_ms}
        click.echo(json.dumps(body))
        return
    click.echo(str(offset))
    if found.offset is None:
        click.echo(
            f"no record has this time or a later one; the log ends at {found.latest}", err=True
        )
