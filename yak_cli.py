"""The one ``yak`` command; must import nothing heavy before a sub-command needs it.

Sub-commands live in the package that they drive; this file only knows where. The demo alone is put
together here, because it shows both worlds, and those never import each other. Exit codes of all:
0 it worked and what was claimed held, 1 something failed, 2 the command line or an input is wrong,
3 the verdict is unknown, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from yak_sim.run.catalog import Catalog

COMMANDS = {
    "demo": ("", "", "Run the main job: a failover, simulated and then real."),
    "sim": ("yak_sim.cli", "sim", "List and run scenarios in the simulator, check digests."),
    "broker": ("yak_net.cli", "broker", "Run one broker in this process."),
    "cluster": ("yak_net.cluster.cli", "cluster", "Run a cluster of brokers on this machine."),
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
        if cmd_name == "demo":
            return demo_command()
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of sub-commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


def demo_command() -> click.Command:
    """``yak demo``: the same lines through a simulated failover and through a real one."""
    from yak_sim import cli
    from yak_sim.demo import TAMPERINGS, lines_of, run_simulated

    @click.command("demo", context_settings=cli.HELP)
    @cli.INPUT_OPTION
    @cli.OUT_OPTION
    @cli.SEED_OPTION
    @click.option(
        "--only", type=click.Choice(["simulated", "real"]), help="One of the two halves."
    )
    @click.option(
        "--tamper",
        type=click.Choice(TAMPERINGS),
        help="Damage what was read before it is compared, to see the demo fail.",
    )
    def demo(
        input_path: str | None, out: str, seed: int | None, only: str | None, tamper: str | None
    ) -> None:
        """Replicate the lines of FILE through two failovers, and compare what comes out with them.

        First three simulated brokers, whose leader crashes at the worst moment; then three real
        processes, whose leader is killed by SIGKILL. Every line must come out once, in order, and
        what each real broker did is replayed through the core.
        """
        catalog = scenario_catalog()
        lines = lines_of(catalog, input_path, tamper)
        words = ["yak", "demo"] + ([] if input_path is None else ["--input", input_path])
        words += [] if seed is None else ["--seed", str(seed)]
        code = 0
        if only != "real":
            code = run_simulated(catalog, lines, out, seed, tamper, words)
        if only != "simulated" and code in (0, 1):
            code = max(code, _run_real(lines, out, tamper))
        sys.exit(code)

    return demo


def scenario_catalog() -> Catalog:
    """The scenarios that come with the project; the simulator itself knows of none."""
    import scenarios
    from yak_sim.run.catalog import Catalog

    return Catalog(Path(scenarios.__path__[0]))


def _run_real(lines: tuple[bytes, ...], out: str, tamper: str | None) -> int:
    """The real half, and what it proves; returns the exit code."""
    from yak_net.cluster.errors import ClusterError
    from yak_net.demo import DemoFailed, make_folder, run_real
    from yak_net.runtime.interruptible import run as run_until_interrupted
    from yak_sim.demo import counted, first_difference, tampered, tell_comparison
    from yak_sim.run.replay import replay_paths

    folder = make_folder(Path(out))
    click.echo(f"{counted(len(lines), 'line')}, 3 real brokers, one SIGKILL")
    try:
        run = run_until_interrupted(run_real(lines, folder, click.echo))
    except (DemoFailed, ClusterError) as failed:
        click.echo(f"failed: {failed}", err=True)
        click.echo("valid: false")
        return 1
    read = run.read if tamper is None else tampered(run.read, tamper)
    difference = first_difference(lines, read)
    tell_comparison(len(lines), difference)
    for epoch, leader, first, end in run.led:
        click.echo(f"epoch {epoch}: led by {leader}, offsets {first} to {end - 1}")
    identical = True
    for replay in replay_paths(run.traces):
        identical &= replay.identical
        for line in replay.lines:
            click.echo(f"replayed: {replay.path.name}, {line}")
    wanted = "Every line came out once, in order"
    claims = [
        (f"The leader died with {counted(run.unconfirmed, 'record')} unconfirmed", True),
        (f"{wanted}: {difference}" if difference else wanted, not difference),
        ("What the brokers did is what the core does, byte for byte", identical),
        ("No process is left behind", not run.left_behind),
    ]
    for sentence, held in claims:
        click.echo(f"{'proved' if held else 'FAILED'}: {sentence}")
    valid = all(held for _, held in claims)
    click.echo(f"traces, logs: {folder}")
    click.echo(f"valid: {str(valid).lower()}")
    return 0 if valid else 1


def _print_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib import metadata  # Every start would pay for it.

        try:
            version = metadata.version("yak")
        except metadata.PackageNotFoundError:
            version = "0 (not installed: run ./yak once)"
        click.echo(f"yak, version {version}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.pass_context
def main(ctx: click.Context) -> None:
    """YAK: Kafka-style log replication, to learn, to break and to trust.

    Exit codes: 0 fine, 1 failed, 2 usage or input, 3 unknown, 130 interrupted.
    """
    if ctx.invoked_subcommand == "sim":
        ctx.obj = scenario_catalog()


if __name__ == "__main__":
    main(prog_name="yak")
