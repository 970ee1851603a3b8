"""The one ``yak`` command; must import nothing heavy before a sub-command needs it.

Sub-commands live in the package that they drive; this file only knows where. Exit codes of all of
them: 0 it worked and what was claimed held, 1 something failed, 2 the command line or an input is
wrong, 3 the verdict is unknown, 130 interrupted.
"""

from __future__ import annotations

import importlib
from importlib import metadata

import click

COMMANDS = {
    "demo": ("yak_sim.demo", "demo", "Run the main job: a failover you can replay."),
    "sim": ("yak_sim.cli", "sim", "List and run scenarios in the simulator, check digests."),
    "broker": ("yak_net.cli", "broker", "Run one broker in this process."),
    "produce": ("yak_net.client.cli", "produce", "Send messages, or lines, as records."),
    "consume": ("yak_net.client.cli", "consume", "Print records, from any offset on."),
}
"""Name of a sub-command: its module, its attribute, and the line in ``yak --help``."""


class Interrupted(click.ClickException):
    """Somebody pressed Ctrl-C; by convention 128 and the number of the signal."""

    exit_code = 130


class LazyGroup(click.Group):
    """A group that imports a sub-command when it is called for, not for ``--help``."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command; an interrupt ends it with its own exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of sub-commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


def _version() -> str:
    try:
        return metadata.version("yak")
    except metadata.PackageNotFoundError:
        return "0 (not installed: run ./yak once)"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version=_version(), prog_name="yak")
def main() -> None:
    """YAK: Kafka-style log replication, to learn, to break and to trust.

    Exit codes: 0 fine, 1 failed, 2 usage or input, 3 unknown, 130 interrupted.
    """


if __name__ == "__main__":
    main(prog_name="yak")
