"""Options of the commands ``yak produce`` and ``yak consume``.

Data goes to standard output, everything else to standard error. Exit codes: 0 success, 1 failure,
2 invalid command line, 124 timeout, 130 interrupted. The modules that run the commands are imported
when a command runs, so that ``--help`` is fast.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

import click

from yak_net.client.terminal import parse_duration
from yak_net.runtime.quick_import import quick_import
from yak_net.runtime.standard_streams import STDIN, STDOUT, exit_without_input, is_open

if TYPE_CHECKING:
    from yak_net.client.cli_consume import Render

    TimeType = click.ParamType[float]
    OffsetType = click.ParamType[str | int]
else:
    TimeType = OffsetType = click.ParamType  # not generic in older versions of click

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
BEGINNINGS: Final = {"earliest": "earliest", "beginning": "earliest"}
ENDS: Final = {"latest": "latest", "end": "latest"}


class Time(TimeType):
    """A duration: seconds, or a number with ms, s, m or h."""

    name = "TIME"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the duration in seconds. Raises a usage error."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Offset(OffsetType):
    """``earliest``, ``latest``, an offset, or -N for the last N records."""

    name = "OFFSET"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """Return "earliest", "latest" or the number. Raises a usage error."""
        text = str(value).strip()
        if text in BEGINNINGS | ENDS:
            return (BEGINNINGS | ENDS)[text]
        try:
            return int(text)
        except ValueError:
            self.fail(f"offset must be earliest, latest, N or -N, got {text!r}", param, ctx)


def _servers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...]:
    from yak_net.client.options import servers_of

    try:
        return servers_of(value)
    except ValueError as error:
        if value is None:  # the error is in the environment or the state file, not in the option
            raise click.UsageError(str(error), ctx) from error
        raise click.BadParameter(str(error), ctx, param) from error


def _format(ctx: click.Context, param: click.Parameter, value: str | None) -> Render | None:
    from yak_net.client.cli_consume import formatter

    try:
        return None if value is None else formatter(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


SERVERS: Final = click.option(
    "-b", "--bootstrap-servers", "--bootstrap-server", "servers", callback=_servers,
    metavar="HOST:PORT,...",
    help="Brokers to connect to first.  [default: the local cluster, or $YAK_BOOTSTRAP_SERVERS, "
    "or 127.0.0.1:8080]",
)


@click.command(context_settings=HELP)
@click.option(
    "-m", "--message", "messages", multiple=True, metavar="TEXT",
    help="Record to send; repeatable.  [default: each line of the input]",
)
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="FILE",
    help="Input file.  [default: standard input]",
)
@SERVERS
@click.option(
    "--acks", type=click.Choice(["all", "-1", "1", "0"]), default="all", show_default=True,
    help="Acknowledgement: by the ISR (all), the leader (1), none (0).",
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="N",
    help="Maximum number of records per second.",
)
@click.option(
    "--key-separator", metavar="SEP", help="Separator of key and value.  [default: no keys]"
)
@click.option(
    "--timeout", type=Time(), default="30s", show_default=True,
    help="Time limit for a record to be confirmed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per record.")
def produce(
    messages: tuple[str, ...],
    file: str | None,
    servers: tuple[str, ...],
    acks: str,
    rate: float | None,
    key_separator: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Send messages, or the lines of the input, as records.

    A line is any bytes between two newlines. The exit code is 0 only if every record is confirmed
    (with --acks 0: sent). Otherwise the summary on standard error says how many records failed,
    why, and what to do.
    """
    reads_input = not messages and file in (None, "-")
    if reads_input and not is_open(STDIN):
        exit_without_input()
    quick_import("yak_net.client.cli_produce", "yak_net.client.runtime")
    from yak_net.client import cli_produce

    if messages and file is not None:
        raise click.UsageError("give either --message or --file, not both")
    if key_separator == "":
        raise click.UsageError("--key-separator must not be empty; give at least one character")
    fd = STDIN if file in (None, "-") else os.open(str(file), os.O_RDONLY)
    options = cli_produce.ProduceOptions(
        servers,
        tuple(os.fsencode(message) for message in messages),
        fd,
        acks if acks == "all" else int(acks),
        rate,
        None if key_separator is None else os.fsencode(key_separator),
        timeout,
        as_json,
    )
    sys.exit(asyncio.run(cli_produce.produce(options)))


@click.command(context_settings=HELP)
@click.option("--from-beginning", is_flag=True, help="Same as --offset earliest.")
@click.option(
    "-o", "--offset", type=Offset(), metavar="OFFSET",
    help="Start offset: earliest, latest, N, or -N (last N records).  [default: latest]",
)
@click.option(
    "-n", "--max-messages", type=click.IntRange(0), metavar="N", help="Exit after N records."
)
@click.option(
    "-e", "--exit-at-end", is_flag=True, help="Exit at the end offset seen at start-up."
)
@SERVERS
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per record.")
@click.option(
    "-f", "--format", "render", callback=_format, metavar="FORMAT",
    help="Output format: %o offset, %k key, %s value, %e epoch, %T timestamp in ms, \\n newline.",
)
@click.option(
    "--skip-damaged", is_flag=True, help="Skip records that cannot be decoded, with a note."
)
@click.option("--timeout", type=Time(), help="Time limit; the exit code is then 124.")
def consume(
    from_beginning: bool,
    offset: str | int | None,
    max_messages: int | None,
    exit_at_end: bool,
    servers: tuple[str, ...],
    as_json: bool,
    render: Render | None,
    skip_damaged: bool,
    timeout: float | None,
) -> None:
    """Print records: one value per line, or in the format of --json or --format.

    Without -e and -n, print new records as they are committed, until Ctrl-C.
    """
    if not is_open(STDOUT):
        raise click.ClickException("cannot write the output: standard output is closed")
    # The runtime is imported here too, so that the import does not count towards --timeout.
    quick_import("yak_net.client.cli_consume", "yak_net.client.runtime")
    from yak_net.client import cli_consume

    if from_beginning and offset is not None:
        raise click.UsageError("give either --from-beginning or --offset, not both")
    if as_json and render is not None:
        raise click.UsageError("give either --json or --format, not both")
    begin = "earliest" if from_beginning else offset
    options = cli_consume.ConsumeOptions(
        servers,
        "latest" if begin is None else begin,
        max_messages,
        exit_at_end,
        cli_consume.json_line if as_json else render or cli_consume.value_line,
        timeout,
        skip_damaged,
    )
    sys.exit(asyncio.run(cli_consume.consume(options)))
