"""``yak sim``: list and run scenarios, check digests; must never decide what a run means.

Data goes to standard output, everything else to standard error. Exit codes: 0 valid, 1 not valid,
2 the command line or an input is wrong, 3 unknown (a limit was reached), 130 interrupted.
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

from yak_sim.run.catalog import Catalog, Failed, Wrong

if TYPE_CHECKING:
    from yak_sim.run.scenario import Scenario
    from yak_sim.run.verdict import RunResult
    from yak_sim.world.narrative import Line

SEED_MAX = (1 << 63) - 1
LINE_BYTES_MAX: Final = 1_000_000
"""Longest line of an input: it must fit into a batch of 1 MiB together with its headers."""

GRACE_S: Final = 1.0
"""Real seconds after the timeout until the alarm for a script that never yields."""

EXIT_OF = {True: 0, False: 1, "unknown": 3}
EXIT_INTERRUPTED: Final = 130
INTERRUPTED: Final = "Interrupted."
HELP = {"help_option_names": ["-h", "--help"]}


def _settings(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{word!r} is not of the form name=value", ctx, param)
        settings[name] = value
    return settings


def read_lines(path: str) -> tuple[bytes, ...]:
    """The bytes between newlines; a missing last newline and empty lines count as they are."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Wrong(f"the input {path} cannot be read: {error.strerror}") from error
    if not content:
        raise Wrong(f"the input {path} is empty: give a file with at least one line")
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_BYTES_MAX:
            what = f"has {len(line)} bytes, and {LINE_BYTES_MAX} is the most"
            raise Wrong(f"line {number} of the input {path} {what}")
    return tuple(lines)


@click.group(context_settings=HELP)
def sim() -> None:
    """List and run scenarios in the simulator, check digests."""


@sim.command("list")
@click.pass_obj
def list_command(catalog: Catalog) -> None:
    """Print each scenario with its story."""
    for name in catalog.names():
        story = catalog.load(name)
        click.echo(f"{name:<18}{story.text.splitlines()[0] if story.text else ''}")


SEED_OPTION = click.option(
    "--seed", type=click.IntRange(0, SEED_MAX), metavar="N", help="Random seed."
)
INPUT_OPTION = click.option(
    "--input", "input_path", metavar="FILE", help="Lines to use as the records."
)
OUT_OPTION = click.option(
    "--out", default="out", show_default=True, metavar="DIR", help="Where the run folder goes."
)
SET_OPTION = click.option(
    "--set", "settings", multiple=True, callback=_settings, metavar="NAME=VALUE",
    help="A setting of the scenario, the world, or a limit; may be repeated.",
)

TIMEOUT_OPTION = click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=600, show_default=True,
    metavar="SECONDS", help="Give up after so many real seconds; the verdict is then unknown.",
)


@sim.command("run")
@click.argument("scenario", metavar="SCENARIO")
@SEED_OPTION
@INPUT_OPTION
@OUT_OPTION
@SET_OPTION
@TIMEOUT_OPTION
@click.pass_obj
def run(catalog: Catalog, /, scenario: str, **options: Any) -> None:
    """Run SCENARIO (a name, or path.py[:name]), print its story, write its run folder."""
    _run(catalog.load(scenario), scenario, **options)


def run_command(story: Scenario) -> None:
    """Run a scenario file as a program: the same command without its argument."""
    options = [option for option in run.params if option.name != "scenario"]
    command = click.Command(
        story.name,
        callback=partial(_run, story, story.name),
        params=options,
        help=story.text,
        context_settings=HELP,
    )
    command()


def _run(
    story: Scenario,
    word: str,
    seed: int | None,
    input_path: str | None,
    out: str,
    settings: dict[str, str],
    timeout: float,
) -> NoReturn:
    values = None if input_path is None else read_lines(input_path)
    number = story.seed if seed is None else seed
    make_folder(out, story.name, number)
    result = carry_out(story, number, values, settings, timeout)
    command = ["yak", "sim", "run", word, "--seed", str(number)]
    command += [] if input_path is None else ["--input", input_path]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    folder = keep(result, out, command)
    click.echo(f"wrote {folder}")
    conclude(result, folder)
    sys.exit(exit_code(result))


def make_folder(out: str, name: str, seed: int) -> None:
    """Find out before the run, not after it, that its folder cannot be written."""
    folder = Path(out, name, str(seed))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        why = error.strerror or str(error)
        raise Wrong(f"the output folder {folder} cannot be written: {why}") from error


def carry_out(
    story: Scenario,
    seed: int | None,
    values: tuple[bytes, ...] | None,
    settings: dict[str, str],
    timeout: float = 600,
) -> RunResult:
    """Run with all invariants on, printing the story as it happens."""
    from yak_sim.run.scenario import run_scenario
    from yak_sim.world.loop import Limits

    try:
        with _ended_by_signals(timeout):
            return run_scenario(
                story,
                seed,
                settings,
                values=values,
                on_line=_tell,
                limits=Limits(wall_s=timeout),
            )
    except ValueError as error:
        # Only settings are refused like this: whatever comes later is in the result.
        raise Wrong(str(error).rstrip(".")) from error


@contextmanager
def _ended_by_signals(timeout: float) -> Iterator[None]:
    """Let an interrupt, or an alarm after ``timeout`` seconds, end the run as a limit does.

    The alarm ends a script that never yields. It comes GRACE_S after the limit that the run checks
    itself, so it interrupts no run that still makes progress.
    """
    from yak_sim.world.loop import LimitReached

    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only.
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}

    def give_up(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        if number == signal.SIGINT:
            raise LimitReached(INTERRUPTED)
        at = f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""
        raise LimitReached(f"Given up: no yield{at} after {timeout:g} s of real time.")

    for number in before:
        signal.signal(number, give_up)
    others = signal.setitimer(signal.ITIMER_REAL, timeout + GRACE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(result: RunResult) -> int:
    """What the program says to its caller of a run."""
    return EXIT_INTERRUPTED if result.reason == INTERRUPTED else EXIT_OF[result.valid]


def _tell(line: Line) -> None:
    # The run must not depend on whether anybody reads its story to the end.
    with suppress(BrokenPipeError):
        click.echo(str(line))


def keep(result: RunResult, out: str, command: list[str]) -> Path:
    """Write the run folder, whatever the verdict is."""
    from yak_sim.run.run_folder import OutputError, write_run

    try:
        return write_run(result, Path(out), command)
    except OutputError as error:
        conclude(result, None)
        raise Wrong(str(error)) from error


def conclude(result: RunResult, folder: Path | None) -> None:
    """What the run came to; the digest and the verdict are the last two lines.

    The digest is the one in ``folder``; without a folder it is computed here.
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


@sim.command("digest")
@click.argument("trace", metavar="TRACE")
def digest(trace: str) -> None:
    """Recompute the digest of a trace file (trace.jsonl), checking every record."""
    from yak_core.trace.reader import TraceError
    from yak_sim.run.run_folder import digest_of_path

    try:
        click.echo(f"digest: {digest_of_path(Path(trace))}")
    except TraceError as error:
        raise Failed(f"{trace}: {error}") from error
    except OSError as error:
        raise Wrong(f"the trace {trace} cannot be read: {error.strerror}") from error



@sim.command("replay")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--until", type=click.IntRange(0), metavar="STEP",
    help="Stop behind this step and print what its node is like then.",
)
def replay(traces: tuple[str, ...], until: int | None) -> None:
    """Give the events of each TRACE to new nodes and compare what they order, byte for byte.

    Traces of real brokers are replayed as well. Exit codes: 0 identical, 1 a difference or a
    damaged trace, 2 a file cannot be read or has no step STEP.
    """
    from yak_sim.run.replay import replay_command

    sys.exit(replay_command(traces, until))
