"""Options, types of values and the command class that ``yak produce`` and ``yak consume`` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from yak_net.client.terminal import parse_duration

if TYPE_CHECKING:
    TimeType = click.ParamType[float]
    OffsetType = click.ParamType[str | int]
else:
    TimeType = OffsetType = click.ParamType  # not generic in older versions of click

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
BEGINNINGS: Final = {"earliest": "earliest", "beginning": "earliest", "start": "earliest"}
ENDS: Final = {"latest": "latest", "end": "latest"}
TO_THE_END: Final = ":end"
NO_GROUPS: Final = "YAK has no consumer groups; start at an offset with --offset"
_NO_END: Final = "only the start can be given by time, as @TIME; to stop there, use -n"
_OTHER_OFFSETS: Final = {"e@": _NO_END, "stored": NO_GROUPS}


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
    """``earliest``, ``latest``, an offset, -N for the last N, ``@TIME``, or ``:end``."""

    name = "OFFSET"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """Return "earliest", "latest", ":end", "@" with ms, or the number. Raises a usage error."""
        text = str(value).strip()
        if text in BEGINNINGS | ENDS:
            return (BEGINNINGS | ENDS)[text]
        if text == TO_THE_END:
            return text
        if text.startswith(("@", "s@")):
            from yak_net.client.offset_lookup import parse_time

            try:
                return f"@{parse_time(text.partition('@')[2])}"
            except ValueError as error:
                self.fail(str(error), param, ctx)
        for beginning, reason in _OTHER_OFFSETS.items():
            if text.startswith(beginning):
                self.fail(f"{reason}, got {text!r}", param, ctx)
        try:
            return int(text)
        except ValueError:
            self.fail(f"offset must be earliest, latest, N, -N or @TIME, got {text!r}", param, ctx)


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


class Named(click.Option):
    """An option that also has the names of other tools, which ``--help`` does not list."""

    def __init__(self, *words: Any, aliases: tuple[str, ...] = (), **given: Any) -> None:
        super().__init__(*words, **given)
        self.aliases = aliases

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Add the option with all of its names."""
        shown = self.opts
        self.opts = [*shown, *self.aliases]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = shown


class ClientCommand(click.Command):
    """A command that explains options of kcat, Kafka's tools and rpk that it does not have.

    ``absent`` has a sentence for each of these options.
    """

    def __init__(self, *words: Any, absent: Mapping[str, str], **given: Any) -> None:
        super().__init__(*words, **given)
        self.absent = absent

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. Raises a usage error with the sentence of an absent option."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            reason = self.absent.get(error.option_name)
            if reason is None:
                raise
            raise click.UsageError(f"no option {error.option_name}: {reason}", ctx) from error


def one_log(ctx: click.Context, _: click.Parameter, value: str | int | None) -> None:
    """Note that there is one log, once, for options that select a topic or a partition."""
    if value is not None and not ctx.meta.get("one_log"):
        ctx.meta["one_log"] = True
        click.echo("Note: YAK has one log; the topic and the partition are ignored", err=True)


SERVERS: Final = click.option(
    "-b", "--bootstrap-servers", "servers", callback=_servers, cls=Named,
    aliases=("--bootstrap-server", "--broker-list", "--brokers"), metavar="HOST:PORT,...",
    help="Brokers to connect to first.  [default: the local cluster, or $YAK_BOOTSTRAP_SERVERS, "
    "or 127.0.0.1:8080]",
)
TOPIC: Final = click.option(
    "-t", "--topic", metavar="TOPIC", callback=one_log, expose_value=False,
    help="Ignored: there is one log.",
)
PARTITION: Final = click.option(
    "-p", "--partition", type=int, metavar="N", callback=one_log, expose_value=False,
    help="Ignored: there is one partition.",
)
QUIET: Final = click.option("-q", "--quiet", is_flag=True, help="Print no summary and no hint.")
UNBUFFERED: Final = click.option(
    "-u", "--unbuffered", is_flag=True, expose_value=False, hidden=True,
    help="No effect: output is never buffered.",
)

ABSENT: Final = {
    "-d": "for the events of a broker, use yak broker --verbose",
    "-F": "there is no configuration file; use options or YAK_BOOTSTRAP_SERVERS",
    "-l": "read the lines of a file with --file",
    "--config": "there is no configuration file; use options or YAK_BOOTSTRAP_SERVERS",
    "--command-config": "there is no configuration file; use options or YAK_BOOTSTRAP_SERVERS",
    "--profile": "there is no configuration file; use options or YAK_BOOTSTRAP_SERVERS",
    "-E": "the first error ends the command",
    "-L": "show the brokers with yak describe",
    "-Q": "look up an offset by time with yak offsets --time",
    "-G": NO_GROUPS,
    "-T": "copy the output with tee",
}
"""Options of other tools that neither command has, with a reason or an alternative."""
