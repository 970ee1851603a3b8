"""The command ``yak``: a table of sub-commands, each of which is imported when it runs.

The sub-commands are defined in their packages. Only the demo is defined here, because it uses
yak_sim and yak_net, and these packages do not import each other. Exit codes of all sub-commands:
0 success and all claims held, 1 failure, 2 invalid command line or input, 3 verdict unknown,
130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from yak_net.runtime.standard_streams import guarded

COMMANDS = {
    "demo": ("", "", "Show a leader failover, simulated and with real brokers."),
    "sim": ("yak_sim.cli", "sim", "List, run and replay scenarios in the simulator."),
    "scenario": ("yak_sim.cli_scenario", "scenario_group", "Begin a scenario of your own."),
    "lessons": ("yak_sim.cli_lessons", "lessons_command", "List the lessons."),
    "lab": ("yak_sim.cli_lessons", "lab", "Open a lesson in JupyterLab."),
    "broker": ("yak_net.cli", "broker", "Run one broker in this process."),
    "cluster": ("yak_net.cluster.cli", "cluster", "Run a cluster of brokers on this machine."),
    "produce": ("yak_net.client.cli", "produce", "Send messages or lines as records."),
    "consume": ("yak_net.client.cli", "consume", "Print records from a given offset."),
    "describe": (
        "yak_net.observe.cli_describe",
        "describe",
        "Show the leader, the ISR and each replica.",
    ),
    "top": ("yak_net.observe.cli_top", "top", "Watch replicas, rates and failovers."),
    "offsets": (
        "yak_net.observe.cli_offsets",
        "offsets",
        "Print the ends of the log, or an offset by time.",
    ),
    "log": ("yak_net.log_files.cli", "log", "Show, verify and compare logs on disk."),
    "doctor": ("yak_net.doctor.cli", "doctor", "Find what is wrong with a set-up."),
    "bench": ("", "", "Measure rates and latencies of a cluster."),
    "completion": ("", "", "Print the completion script of a shell."),
}
"""Sub-command name: (module, attribute, line in ``yak --help``)."""

PRINTING = {
    *(("sim", "list"), ("sim", "digest"), ("cluster", "logs"), ("lessons",), ("lessons", "--json")),
    *(("log", "dump"), ("log", "verify"), ("log", "diff")),
}
"""Commands that fail if their output cannot be written: printing is their work."""


_ONE_LOG = "there is one log: no topics, one partition"
_NO_GROUPS = "YAK has no consumer groups; read from an offset with yak consume --offset"
_STATUS = "use yak cluster status"
_DESCRIBE = "use yak describe"
_MEASURE = "measure with yak bench"
ELSEWHERE = {
    "-C": "use yak consume",
    "-G": _NO_GROUPS,
    "-L": _DESCRIBE,
    "-P": "use yak produce",
    "-Q": "use yak offsets --time TIME",
    "console-consumer": "use yak consume",
    "console-producer": "use yak produce",
    "consumer": "use yak consume",
    "consumer-groups": _NO_GROUPS,
    "consumer-perf-test": _MEASURE,
    "dump-log": "use yak log dump",
    "get-offsets": "use yak offsets",
    "group": _NO_GROUPS,
    "groups": _NO_GROUPS,
    "health": "use yak cluster health",
    "leader-election": "the brokers elect by themselves; end a leader with yak cluster kill",
    "log-dirs": "yak describe has the log end of each replica",
    "metadata-quorum": f"YAK has no quorum of controllers; {_DESCRIBE}",
    "producer": "use yak produce",
    "producer-perf-test": _MEASURE,
    "replica-verification": "compare the logs of two replicas with yak log diff",
    "topic": f"{_ONE_LOG}; use yak produce and yak consume",
    "topics": f"{_ONE_LOG}; for its replicas, {_DESCRIBE}",
    "verifiable-consumer": "use yak consume --verify",
    "verifiable-producer": "use yak produce --count N --json",
}
"""Modes of kcat and commands of Kafka and rpk that YAK does not have, and what to do instead."""


class Interrupted(click.ClickException):
    """The user pressed Ctrl-C; exit code 128 plus the number of SIGINT."""

    exit_code = 130


class LazyGroup(click.Group):
    """A group that imports a sub-command when it is run, not for ``yak --help``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line as a program, with guarded standard streams."""
        words = sys.argv[1:] if not args else list(args[0])
        asks = not words or not {"-h", "--help", "--version"}.isdisjoint(words)
        prints_only = asks or tuple(words[:2]) in PRINTING
        return guarded(lambda: self.main(*args, **kwargs), prints_only=prints_only)

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command; turn KeyboardInterrupt into exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the sub-command; explain the modes of kcat."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name not in ELSEWHERE:
                raise
            reason = ELSEWHERE[error.option_name]
            raise click.UsageError(f"no option {error.option_name}: {reason}", ctx) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command; explain commands of Kafka and rpk."""
        name = args[0].removeprefix("kafka-").removesuffix(".sh")
        if name in ELSEWHERE and name not in COMMANDS:
            raise click.UsageError(f"no command {args[0]}: {ELSEWHERE[name]}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the sub-commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a sub-command and return it; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        if cmd_name == "demo":
            return demo_command()
        if cmd_name == "bench":
            return bench_command()
        if cmd_name == "completion":
            return completion
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and options of yak in SHELL.

    For bash: eval "$(yak completion bash)" in ~/.bashrc. For zsh, the same in ~/.zshrc. For fish:
    yak completion fish > ~/.config/fish/completions/yak.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "yak", "_YAK_COMPLETE").source())


def bench_command() -> click.Command:
    """Return the command ``yak bench``, which is in a checkout only."""
    root = Path(__file__).resolve().parent
    if (root / "benchmarks" / "command.py").is_file():
        sys.path.insert(0, str(root))
        command = importlib.import_module("benchmarks.command").bench
        assert isinstance(command, click.Command)
        return command

    @click.command("bench", context_settings={"ignore_unknown_options": True})
    @click.argument("words", nargs=-1)
    def absent(words: tuple[str, ...]) -> None:
        """Measure rates and latencies of a cluster; in a checkout of the project only."""
        raise click.ClickException(
            "the benchmarks are not installed: they are in the source tree only; get the source "
            "of YAK, and run ./yak bench there"
        )

    return absent


def demo_command() -> click.Command:
    """Return the command ``yak demo``: a failover of simulated brokers, then of real brokers."""
    from yak_sim import cli
    from yak_sim.cli_common import HELP
    from yak_sim.demo import TAMPERINGS, lines_of, run_simulated
    from yak_sim.run.catalog import Catalog

    @click.command("demo", context_settings=HELP)
    @cli.INPUT_OPTION
    @cli.OUT_OPTION
    @cli.SEED_OPTION
    @click.option(
        "--only", type=click.Choice(["simulated", "real"]), help="Run one of the two parts."
    )
    @click.option(
        "--tamper",
        type=click.Choice(TAMPERINGS),
        help="Alter the records read, so that the demo fails.",
    )
    def demo(
        input_path: str | None, out: str, seed: int | None, only: str | None, tamper: str | None
    ) -> None:
        """Replicate the lines of FILE during two leader failovers, and read them back.

        The first part has three simulated brokers, whose leader crashes while some records are not
        replicated. The second part has three broker processes, whose leader is killed with
        SIGKILL. The demo checks that each line is read exactly once, in order, and that replaying
        the trace of each broker process gives identical effects.
        """
        catalog = Catalog()
        lines = lines_of(catalog, input_path, tamper)
        command_line = ["yak", "demo"] + ([] if input_path is None else ["--input", input_path])
        command_line += [] if seed is None else ["--seed", str(seed)]
        code = 0
        if only != "real":
            code = run_simulated(catalog, lines, out, seed, tamper, command_line)
        if only != "simulated" and code in (0, 1):
            code = max(code, _run_real(lines, out, tamper))
        sys.exit(code)

    return demo


def _run_real(lines: tuple[bytes, ...], out: str, tamper: str | None) -> int:
    """Run the part with real brokers and print its claims; return the exit code."""
    from yak_net.cluster.errors import ClusterError
    from yak_net.demo import DemoFailed, make_folder, run_real
    from yak_net.runtime.interruptible import run as run_until_interrupted
    from yak_sim.demo import counted, first_difference, print_comparison, tampered
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
    print_comparison(len(lines), difference)
    for epoch, leader, first, end in run.leaderships:
        click.echo(f"epoch {epoch}: leader {leader}, offsets {first} to {end - 1}")
    identical = True
    for replay in replay_paths(run.traces):
        identical &= replay.identical
        for line in replay.lines:
            click.echo(f"replayed: {replay.path.name}, {line}")
    order_claim = "Each line was read exactly once, in order"
    claims = [
        (f"The leader was killed with {counted(run.unconfirmed, 'record')} unconfirmed", True),
        (f"{order_claim}: {difference}" if difference else order_claim, not difference),
        ("Replaying the traces gives the recorded effects, byte for byte", identical),
        ("No process is left running", not run.running_pids),
    ]
    for claim, holds in claims:
        click.echo(f"{'proved' if holds else 'FAILED'}: {claim}")
    valid = all(holds for _, holds in claims)
    click.echo(f"traces, logs: {folder}")
    click.echo(f"valid: {str(valid).lower()}")
    return 0 if valid else 1


def _print_version(ctx: click.Context, _option: click.Parameter, requested: bool) -> None:
    if requested:
        from importlib import metadata  # not at the top, because the import is slow

        from yak_core.trace.version import DISTRIBUTION

        try:
            version = metadata.version(DISTRIBUTION)
        except metadata.PackageNotFoundError:
            version = "0 (not installed; run ./yak once)"
        click.echo(f"yak, version {version}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.pass_context
def main(ctx: click.Context) -> None:
    """YAK: Kafka-style log replication, for teaching, testing and running.

    Exit codes: 0 success, 1 failure, 2 usage or input, 3 unknown, 130 interrupted.
    """
    if ctx.invoked_subcommand in ("sim", "scenario"):
        from yak_sim.run.catalog import Catalog

        ctx.obj = Catalog()


if __name__ == "__main__":
    main(prog_name="yak")
