"""``yak sim``: commands that list, run, plot and replay scenarios and check digests.

Data goes to standard output, everything else to standard error. Exit codes: 0 valid, 1 not valid,
2 invalid command line or input, 3 unknown (a limit was reached), 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from yak_sim.cli_common import HELP, SEED_MAX, CommandFailed, CommandLineError, load
from yak_sim.cli_plot import plot_command
from yak_sim.cli_sweep import sweep_command
from yak_sim.run.catalog import Catalog

if TYPE_CHECKING:
    from yak_sim.run.scenario import Scenario
    from yak_sim.run.verdict import RunResult
    from yak_sim.world.narrative import Line

LINE_BYTES_MAX: Final = 1_000_000
"""Maximum length of an input line in bytes: line and headers must fit into a batch of 1 MiB."""

GRACE_S: Final = 1.0
"""Real seconds between the timeout and the alarm for a script that never yields."""

EXIT_CODES = {True: 0, False: 1, "unknown": 3}
EXIT_INTERRUPTED: Final = 130
INTERRUPTED: Final = "interrupted"


def _parsed(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"expected name=value, got {pair!r}", ctx, param)
        settings[name] = value
    return settings


def read_lines(path: str) -> tuple[bytes, ...]:
    """Return the lines of a file as bytes, without newlines. Raise CommandLineError.

    Empty lines are kept. The last line may have no newline.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CommandLineError(f"cannot read the input {path}: {error.strerror}") from error
    if not content:
        raise CommandLineError(f"the input {path} is empty; use a file with at least one line")
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_BYTES_MAX:
            what = f"has {len(line)} bytes, the maximum is {LINE_BYTES_MAX}"
            raise CommandLineError(f"line {number} of the input {path} {what}")
    return tuple(lines)


@click.group(context_settings=HELP)
def sim() -> None:
    """List, run and replay scenarios in the simulator; check digests."""


@sim.command("list", short_help="List the scenarios and their settings.")
@click.pass_obj
def list_command(catalog: Catalog) -> None:
    """Print each scenario with its description and its own settings."""
    names = catalog.names()
    width = max(map(len, names), default=0) + 2
    for name in names:
        scenario = load(catalog, name)
        click.echo(f"{name:<{width}}{scenario.text.splitlines()[0] if scenario.text else ''}")
        for parameter, default in scenario.parameters.items():
            click.echo(f"{'':<{width}}--set {parameter}={default}")


sim.add_command(sweep_command)
sim.add_command(plot_command)


SEED_OPTION = click.option(
    "--seed", type=click.IntRange(0, SEED_MAX), metavar="N", help="Random seed."
)
INPUT_OPTION = click.option(
    "--input", "input_path", metavar="FILE", help="File whose lines become the records."
)
OUT_OPTION = click.option(
    "--out", default="out", show_default=True, metavar="DIR", help="Parent of the run folder."
)
SET_OPTION = click.option(
    "--set", "settings", multiple=True, callback=_parsed, metavar="NAME=VALUE",
    help="Setting of the scenario or world, or limit; repeatable.",
)

TIMEOUT_OPTION = click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=600, show_default=True,
    metavar="SECONDS", help="Real-time limit; after it the verdict is unknown.",
)


@sim.command("run", short_help="Run a scenario and write its run folder.")
@click.argument("scenario", metavar="SCENARIO")
@SEED_OPTION
@INPUT_OPTION
@OUT_OPTION
@SET_OPTION
@TIMEOUT_OPTION
@click.pass_obj
def run(catalog: Catalog, /, scenario: str, **options: Any) -> None:
    """Run SCENARIO (a name, or path.py[:name]), print its narrative, write its run folder."""
    _run(load(catalog, scenario), scenario, **options)


def run_command(scenario: Scenario) -> None:
    """Run a scenario file as a program, with the options of ``yak sim run``."""
    options = [option for option in run.params if option.name != "scenario"]
    command = click.Command(
        scenario.name,
        callback=partial(_run, scenario, scenario.name),
        params=options,
        help=scenario.text,
        context_settings=HELP,
    )
    command()


def _run(
    scenario: Scenario,
    reference: str,
    seed: int | None,
    input_path: str | None,
    out: str,
    settings: dict[str, str],
    timeout: float,
) -> NoReturn:
    values = None if input_path is None else read_lines(input_path)
    seed = scenario.seed if seed is None else seed
    make_folder(out, scenario, seed, settings)
    result = run_and_narrate(scenario, seed, values, settings, timeout)
    command = ["yak", "sim", "run", reference, "--seed", str(seed)]
    command += [] if input_path is None else ["--input", input_path]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    folder = save_run(result, out, command)
    click.echo(f"wrote {folder}")
    print_verdict(result, folder)
    sys.exit(exit_code(result))


def make_folder(out: str, scenario: Scenario, seed: int, settings: dict[str, str]) -> None:
    """Create the run folder before the run. Raise CommandLineError if it is not writable."""
    from yak_sim.run.run_folder import folder_name
    from yak_sim.run.scenario import SettingError, given_settings

    try:
        name = folder_name(seed, given_settings(scenario, settings))
    except SettingError as error:
        raise CommandLineError(str(error)) from error
    folder = Path(out, scenario.name, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandLineError(f"cannot write the output folder {folder}: {why}") from error


def run_and_narrate(
    scenario: Scenario,
    seed: int | None,
    values: tuple[bytes, ...] | None,
    settings: dict[str, str],
    timeout: float = 600,
) -> RunResult:
    """Run a scenario with all invariants and print each narrative line immediately."""
    from yak_sim.run.scenario import run_scenario
    from yak_sim.world.loop import Limits

    try:
        with _ended_by_signal(timeout):
            return run_scenario(
                scenario,
                seed,
                settings,
                values=values,
                on_line=_print_line,
                limits=Limits(wall_s=timeout),
            )
    except ValueError as error:
        # Only an invalid setting raises ValueError; later errors are part of the result.
        raise CommandLineError(str(error)) from error


@contextmanager
def _ended_by_signal(timeout: float) -> Iterator[None]:
    """Raise LimitReached on an interrupt, or on an alarm after ``timeout`` seconds.

    The alarm ends a script that never yields. It is set GRACE_S after the limit that the run checks
    itself, so that it does not interrupt a run that makes progress.
    """
    from yak_sim.world.loop import LimitReached

    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only.
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}

    def end_run(number: int, frame: FrameType | None) -> None:
        signal.signal(number, handlers[signal.Signals(number)])
        if number == signal.SIGINT:
            raise LimitReached(INTERRUPTED)
        at = f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""
        raise LimitReached(f"gave up: no yield{at} after {timeout:g} s of real time")

    for number in handlers:
        signal.signal(number, end_run)
    earlier_timer = signal.setitimer(signal.ITIMER_REAL, timeout + GRACE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *earlier_timer)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def exit_code(result: RunResult) -> int:
    """Return the exit code for the result of a run."""
    return EXIT_INTERRUPTED if result.reason == INTERRUPTED else EXIT_CODES[result.valid]


def _print_line(line: Line) -> None:
    # The run must not depend on the reader of stdout.
    with suppress(BrokenPipeError):
        click.echo(str(line))


def save_run(result: RunResult, out: str, command: list[str]) -> Path:
    """Write the run folder, for every verdict, and return its path. Raise CommandLineError."""
    from yak_sim.run.run_folder import OutputError, write_run

    try:
        return write_run(result, Path(out), command)
    except OutputError as error:
        print_verdict(result, None)
        raise CommandLineError(str(error)) from error


def print_verdict(result: RunResult, folder: Path | None) -> None:
    """Print the expectations, the reason, the digest and the verdict.

    The digest is read from ``folder``. Without a folder it is computed from the trace.
    """
    from yak_core.trace.reader import digest_of
    from yak_sim.run.run_folder import read_verdict

    digest = read_verdict(folder / "verdict.json")["digest"] if folder else digest_of(result.trace)
    for expectation in result.expectations:
        click.echo(f"{'proved' if expectation.held else 'FAILED'}: {expectation.sentence}")
    if result.reason:
        click.echo(f"{'failed' if result.valid is False else 'unknown'}: {result.reason}", err=True)
    click.echo(f"digest: {digest}")
    click.echo(f"valid: {str(result.valid).lower()}")


@sim.command("digest", short_help="Recompute and check the digest of a trace.")
@click.argument("trace", metavar="TRACE")
def digest(trace: str) -> None:
    """Recompute the digest of a trace file (trace.jsonl), checking every record."""
    from yak_core.trace.reader import TraceError
    from yak_sim.run.run_folder import digest_of_path

    try:
        click.echo(f"digest: {digest_of_path(Path(trace))}")
    except TraceError as error:
        raise CommandFailed(f"{trace}: {error}") from error
    except OSError as error:
        raise CommandLineError(f"cannot read the trace {trace}: {error.strerror}") from error



@sim.command("replay", short_help="Replay traces in new nodes and compare effects.")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--until", type=click.IntRange(0), metavar="STEP",
    help="Stop after this step; print the state of its node.",
)
def replay(traces: tuple[str, ...], until: int | None) -> None:
    """Replay the events of each TRACE through new nodes and compare their effects byte by byte.

    Accepts traces of simulated runs and of real brokers. Exit codes: 0 identical, 1 a difference or
    a damaged trace, 2 unreadable file or no step STEP.
    """
    from yak_sim.run.replay import replay_command

    sys.exit(replay_command(traces, until))
