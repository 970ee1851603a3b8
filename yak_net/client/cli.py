"""Options of the commands ``yak produce`` and ``yak consume``.

Data goes to standard output, everything else to standard error. Exit codes: 0 success, 1 failure,
2 invalid command line, 124 timeout, 130 interrupted. The modules that run the commands are imported
when a command runs, so that ``--help`` is fast.

Options have the names of kcat and of Kafka's tools where these have the same option; other names
that people know are aliases, or are explained (docs/kafka-tools.md).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import click

from yak_net.client import cli_properties
from yak_net.client.cli_absent import CONSUME, PRODUCE
from yak_net.client.cli_types import (
    HELP,
    NO_GROUPS,
    PARTITION,
    QUIET,
    SERVERS,
    TO_THE_END,
    TOPIC,
    UNBUFFERED,
    ClientCommand,
    Named,
    Offset,
    Time,
)
from yak_net.runtime.quick_import import quick_import
from yak_net.runtime.standard_streams import STDIN, STDOUT, exit_without_input, is_open

if TYPE_CHECKING:
    from yak_net.client.cli_format import Render

RECORD_SIZE_MAX = 1_000_000
"""Size in bytes of the largest value of ``--count``; a batch has at most 1 MiB."""


def _header(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, bytes], ...]:
    pairs = cli_properties.pairs(ctx, param, values)
    return tuple((name, os.fsencode(value)) for name, value in pairs)


def _no_compression(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value not in (None, "none"):
        raise click.UsageError(f"records are not compressed, got {value!r}; use none")


def _isolation(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value == "read_uncommitted":
        click.echo("Note: YAK has no transactions; only committed records are read", err=True)


def _no_topic(ctx: click.Context, _: click.Parameter, values: tuple[str, ...]) -> None:
    if values:
        raise click.UsageError(
            f"consume takes no topic and no group, got {values[0]!r}: there is one log, and "
            f"{NO_GROUPS}",
            ctx,
        )


@click.command(cls=ClientCommand, absent=PRODUCE, context_settings=HELP)
@click.argument("arguments", nargs=-1, metavar="[MESSAGE]...")
@click.option(
    "-m", "--message", "messages", multiple=True, metavar="TEXT",
    help="Record to send; repeatable.  [default: each line of the input]",
)
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="FILE",
    help="Input file.  [default: standard input]",
)
@click.option(
    "--count", type=click.IntRange(0), metavar="N", cls=Named,
    aliases=("--max-messages", "--num-records"),
    help="Send N numbered records, which consume --verify recognises.",
)
@click.option(
    "--size", type=click.IntRange(0, RECORD_SIZE_MAX), default=0, metavar="BYTES", cls=Named,
    aliases=("--record-size",), help="Size of the values of --count, at least that of the number.",
)
@click.option(
    "--run", "run_name", metavar="NAME", cls=Named, aliases=("--value-prefix",),
    help="Name of the run in the values of --count.  [default: random]",
)
@SERVERS
@TOPIC
@PARTITION
@click.option(
    "--acks", type=click.Choice(["all", "-1", "1", "0"]), default="all", show_default=True,
    cls=Named, aliases=("--request-required-acks",),
    help="Acknowledgement: by the ISR (all), the leader (1), none (0).",
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="N", cls=Named,
    aliases=("--throughput",), help="Maximum number of records per second.",
)
@click.option("-k", "--key", metavar="KEY", help="Key of records without a key of their own.")
@click.option(
    "-K", "--key-separator", metavar="SEP", help="Separator of key and value.  [default: no keys]"
)
@click.option(
    "-H", "--header", "headers", multiple=True, callback=_header, metavar="NAME=VALUE",
    help="Header of each record; repeatable.",
)
@click.option("--null", metavar="TEXT", help="Send keys and values equal to TEXT as null.")
@click.option(
    "-Z", "empty_is_null", is_flag=True, cls=Named, aliases=("--tombstone",),
    help="Send empty keys and values as null.",
)
@click.option("--sync", "one_by_one", is_flag=True, help="Wait for each record before the next.")
@click.option(
    "--timeout", type=Time(), default="30s", show_default=True, cls=Named,
    aliases=("--delivery-timeout",), help="Time limit for a record to be confirmed.",
)
@click.option(
    "-X", "client", multiple=True, callback=cli_properties.arguments(cli_properties.PRODUCER),
    cls=Named, aliases=("--producer-property", "--command-property"), metavar="NAME=VALUE",
    help="Property of the producer, such as linger.ms=50.",
)
@click.option(
    "--property", "form", multiple=True, callback=cli_properties.input_form, hidden=True,
    cls=Named, aliases=("--reader-property",), metavar="NAME=VALUE",
    help="parse.key, key.separator or null.marker.",
)
@click.option("--batch-size", type=int, hidden=True, metavar="BYTES", help="As -X batch.size.")
@click.option(
    "--request-timeout-ms", type=int, hidden=True, metavar="MS", help="As -X request.timeout.ms."
)
@click.option(
    "-z", "--compression-codec", callback=_no_compression, expose_value=False, hidden=True,
    cls=Named, aliases=("--compression", "--compression-type"), help="Only none.",
)
@click.option("-P", is_flag=True, expose_value=False, hidden=True, help="No effect.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per record.")
@QUIET
@UNBUFFERED
def produce(
    arguments: tuple[str, ...],
    messages: tuple[str, ...],
    file: str | None,
    servers: tuple[str, ...],
    acks: str,
    timeout: float,
    form: dict[str, str],
    **given: Any,
) -> None:
    """Send messages, or the lines of the input, as records.

    A line is any bytes between two newlines. The exit code is 0 only if every record is confirmed
    (with --acks 0: sent). Otherwise the summary on standard error says how many records failed,
    why, and what to do.
    """
    reads_input = not messages and file in (None, "-") and given["count"] is None
    if reads_input and not is_open(STDIN):
        exit_without_input()
    quick_import("yak_net.client.cli_produce", "yak_net.client.runtime")
    from yak_net.client import cli_produce

    messages = (*messages, *arguments)
    if messages and file is not None:
        raise click.UsageError("give either messages (--message) or --file, not both")
    run_name = _run_name(given, has_input=bool(messages) or file is not None)
    separator = _bytes(given["key_separator"])
    if separator is None and form.get("parse.key") == "true":
        separator = _bytes(form.get("key.separator", "\\t"))
    if separator == b"":
        raise click.UsageError("--key-separator must not be empty; give at least one character")
    null = "" if given["empty_is_null"] else given["null"]
    client = dict(given["client"])
    for option, argument in (
        ("batch_size", "max_batch_size"),
        ("request_timeout_ms", "request_timeout_ms"),
    ):
        if given[option] is not None:
            client[argument] = given[option]
    fd = STDIN if file in (None, "-") else os.open(str(file), os.O_RDONLY)
    options = cli_produce.ProduceOptions(
        servers,
        tuple(os.fsencode(message) for message in messages),
        fd,
        acks if acks == "all" else int(acks),
        given["rate"],
        separator,
        timeout,
        given["as_json"],
        _raw(form.get("null.marker", null)),
        _raw(given["key"]),
        given["headers"],
        given["one_by_one"],
        given["quiet"],
        client,
        given["count"],
        given["size"],
        run_name,
    )
    sys.exit(_run(cli_produce.produce(options)))


@click.command(cls=ClientCommand, absent=CONSUME, context_settings=HELP)
@click.argument("topics", nargs=-1, metavar="", callback=_no_topic, expose_value=False)
@click.option("--from-beginning", is_flag=True, help="Same as --offset earliest.")
@click.option(
    "-o", "--offset", type=Offset(), metavar="OFFSET",
    help="Start: earliest, latest, N, -N (last N), or @TIME (ms or ISO).  [default: latest]",
)
@click.option(
    "-n", "--max-messages", type=click.IntRange(0), metavar="N", cls=Named,
    aliases=("-c", "--num", "--count"), help="Exit after N records.",
)
@click.option(
    "-e", "--exit-at-end", is_flag=True, help="Exit at the end offset seen at start-up."
)
@click.option(
    "--verify", is_flag=True, help="Print no records; verify them, and print a verdict."
)
@SERVERS
@TOPIC
@PARTITION
@click.option(
    "--json", "-J", "as_json", is_flag=True, help="Print one JSON object per record."
)
@click.option(
    "--skip-damaged", is_flag=True, cls=Named, aliases=("--skip-message-on-error",),
    help="Skip records that cannot be decoded, with a note."
)
@click.option(
    "-f", "--format", "form", metavar="FORMAT",
    help="Output format: %o offset, %k key, %s value, %h headers, %e epoch, %T timestamp in ms, "
    "\\n newline.",
)
@click.option("-K", "--key-separator", metavar="SEP", help="Print the key and SEP before a value.")
@click.option("-D", "--delimiter", metavar="TEXT", help="Print TEXT after a record.")
@click.option("--null", metavar="TEXT", help="Print null keys and values as TEXT.")
@click.option("-Z", "null_as_text", is_flag=True, help="Print null keys and values as NULL.")
@click.option("--timeout", type=Time(), help="Time limit; the exit code is then 124.")
@click.option(
    "--timeout-ms", "idle_ms", type=click.IntRange(1), metavar="MS",
    help="Exit if no record arrives for so long.",
)
@click.option(
    "-X", "client", multiple=True, callback=cli_properties.arguments(cli_properties.CONSUMER),
    cls=Named, aliases=("--consumer-property", "--command-property"), metavar="NAME=VALUE",
    help="Property of the consumer, such as fetch.max.bytes=65536.",
)
@click.option(
    "--property", "shown", multiple=True, callback=cli_properties.properties, hidden=True,
    cls=Named, aliases=("--formatter-property",), metavar="NAME=VALUE",
    help="Format of Kafka's console consumer, such as print.key=true.",
)
@click.option(
    "--isolation-level", type=click.Choice(["read_committed", "read_uncommitted"]), hidden=True,
    callback=_isolation, expose_value=False, help="No effect: there are no transactions.",
)
@click.option("-C", is_flag=True, expose_value=False, hidden=True, help="No effect.")
@QUIET
@UNBUFFERED
def consume(
    from_beginning: bool,
    offset: str | int | None,
    max_messages: int | None,
    exit_at_end: bool,
    servers: tuple[str, ...],
    skip_damaged: bool,
    timeout: float | None,
    idle_ms: int | None,
    quiet: bool,
    client: dict[str, Any],
    **given: Any,
) -> None:
    """Print records: one value per line, or in the format of --json or --format.

    Without -e and -n, print new records as they are committed, until Ctrl-C.

    With --verify, check that offsets have no gap, that epochs do not go down, and that no record of
    yak produce --count is missing, twice there or out of order; with --json the verdict is an
    object. Exit codes are then 0 valid, 1 not valid, 3 unknown: the end of a run was not seen.
    """
    if not is_open(STDOUT):
        raise click.ClickException("cannot write the output: standard output is closed")
    # The runtime is imported here too, so that the import does not count towards --timeout.
    quick_import("yak_net.client.cli_consume", "yak_net.client.runtime")
    from yak_net.client import cli_consume

    if from_beginning and offset is not None:
        raise click.UsageError("give either --from-beginning or --offset, not both")
    begin = "earliest" if from_beginning or offset == TO_THE_END else offset
    options = cli_consume.ConsumeOptions(
        servers,
        "latest" if begin is None else begin,
        max_messages,
        exit_at_end or offset == TO_THE_END,
        _render(given),
        timeout,
        None if idle_ms is None else idle_ms / 1000,
        quiet,
        client,
        skip_damaged,
        given["verify"],
        given["as_json"],
    )
    sys.exit(_run(cli_consume.consume(options)))


def _run_name(given: dict[str, Any], *, has_input: bool) -> str:
    """Return the name of the run of --count; "" without it. Raises a usage error."""
    import secrets

    from yak_net.client.numbered import RUN

    if given["count"] is None:
        if given["size"] or given["run_name"]:
            raise click.UsageError("--size and --run are for the values of --count; give --count N")
        return ""
    if has_input:
        raise click.UsageError("--count makes the records; give no message and no file with it")
    if given["run_name"] and not RUN.fullmatch(given["run_name"]):
        raise click.UsageError(
            "the name of a run must have 1 to 64 letters, digits, '_' or '-', "
            f"got {given['run_name']!r}"
        )
    return given["run_name"] or secrets.token_hex(4)


def _render(given: dict[str, Any]) -> Render:
    """Return the output format that the options select. Raises a usage error."""
    from yak_net.client import cli_format

    form = given["form"]
    as_json = given["as_json"] or form == "json"
    null = _bytes(cli_format.NULL if given["null_as_text"] else given["null"])
    plain = given["key_separator"] is not None or given["delimiter"] is not None
    if given["verify"] and (form is not None or plain or given["shown"]):
        raise click.UsageError("--verify prints no records; give no format with it")
    if (given["as_json"] and form is not None) or (form is not None and plain):
        raise click.UsageError("--format excludes --json, --key-separator and --delimiter")
    try:
        if as_json:
            return cli_format.json_line
        if form is not None:
            return cli_format.formatter(form, null or b"")
        if given["shown"]:
            return cli_format.console_line(given["shown"], b"null" if null is None else null)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not plain and not null:
        return cli_format.value_line
    end = given["delimiter"]
    return cli_format.plain_line(
        _bytes(given["key_separator"]), b"\n" if end is None else _bytes(end) or b"", null or b""
    )


def _bytes(text: str | None) -> bytes | None:
    """Return the bytes of an argument with escapes such as \\t; None for None."""
    from yak_net.client.cli_format import unescape

    return None if text is None else unescape(text)


def _raw(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def _run(work: Coroutine[Any, Any, int]) -> int:
    """Run a command; a value that the client refuses is an invalid command line."""
    try:
        return asyncio.run(work)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
