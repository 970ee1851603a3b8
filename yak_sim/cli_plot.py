"""``yak sim plot``: plots of a trace or of many runs, as PNG or SVG."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from yak_sim.cli_common import HELP, CommandFailed, CommandLineError
from yak_sim.run.whole_file import write_whole

if TYPE_CHECKING:
    from yak_sim.plot.rendering import Drawn

TRACE_KINDS: Final = ("watermarks", "isr", "ack-latency", "throughput", "lag")
DISTRIBUTION: Final = "distribution"
KINDS: Final = (*TRACE_KINDS, DISTRIBUTION)
FORMATS: Final = (".png", ".svg")
UNITS_US: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000}
TIME_MAX_US: Final = 1 << 62


class Time(click.ParamType[int]):
    """A time since the start of a trace, such as ``2s``, ``1.5s`` or ``300ms``, in microseconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the time in microseconds; a number without a unit is in seconds."""
        text = str(value)
        number = text.rstrip("msu")
        unit = text[len(number) :] or "s"
        if not number.replace(".", "", 1).isascii() or not number.replace(".", "", 1).isdecimal():
            self.fail(f"expected a time such as 2s or 300ms, got {text!r}", param, ctx)
        if unit not in UNITS_US:
            self.fail(f"unknown unit {unit!r} in {text!r}; use us, ms, s or m", param, ctx)
        micros = Decimal(number) * UNITS_US[unit]
        if micros > TIME_MAX_US:
            self.fail(f"{text!r} is too long", param, ctx)
        return int(micros)


@click.command("plot", short_help="Plot a trace, or figures of many runs.", context_settings=HELP)
@click.argument("paths", metavar="TRACE|FOLDER...", nargs=-1, required=True)
@click.option("--from", "from_us", type=Time(), metavar="TIME", help="Start, such as 2s or 300ms.")
@click.option("--to", "to_us", type=Time(), metavar="TIME", help="End, such as 5s.")
@click.option(
    "--kind", type=click.Choice(KINDS), default="watermarks", show_default=True,
    help="What to plot.",
)
@click.option("--figure", metavar="NAME", help="Figure of the verdicts, for a distribution.")
@click.option("--out", metavar="FILE", help="PNG or SVG file to write.")
def plot_command(
    paths: tuple[str, ...], from_us: int | None, to_us: int | None, kind: str,
    figure: str | None, out: str | None,
) -> None:
    """Plot a trace file or a run folder, and print the path of the plot and its description.

    Without --from and --to the plot shows the time around the faults, or the whole run if most of
    it is needed; --from 0 shows the whole run. --kind distribution takes many run folders and the
    name of a figure of their verdicts. Without --out, the file is KIND.svg in the run folder, or in
    the current folder. Exit codes: 0 written, 1 damaged trace, 2 invalid command line or file.
    """
    target = Path(out) if out is not None else _default_target(paths, kind)
    if target.suffix.lower() not in FORMATS:
        raise CommandLineError(f"cannot write {target}: expected a file name in .png or .svg")
    if kind == DISTRIBUTION:
        if from_us is not None or to_us is not None:
            raise CommandLineError("--kind distribution has no time axis; omit --from and --to")
        drawn = _distribution(paths, figure)
    else:
        if figure is not None:
            raise CommandLineError("--figure is for --kind distribution; omit it")
        if len(paths) > 1:
            raise CommandLineError(
                f"--kind {kind} plots one trace, got {len(paths)}; for figures of many runs use "
                "--kind distribution"
            )
        drawn = _of_trace(paths[0], kind, from_us, to_us)
    _write(target, drawn)
    click.echo(f"wrote {target}")
    click.echo(drawn.description)


def _default_target(paths: tuple[str, ...], kind: str) -> Path:
    folder = Path(paths[0])
    return (folder if len(paths) == 1 and folder.is_dir() else Path()) / f"{kind}.svg"


def _of_trace(path: str, kind: str, from_us: int | None, to_us: int | None) -> Drawn:
    from yak_core.trace.reader import TraceError
    from yak_sim.plot.kinds import KINDS as DRAW
    from yak_sim.run.run_folder import read_trace

    try:
        trace = read_trace(Path(path))
    except TraceError as error:
        raise CommandFailed(f"{path}: {error}") from error
    except OSError as error:
        raise CommandLineError(f"cannot read the trace {path}: {error.strerror}") from error
    try:
        return DRAW[kind](trace, from_us=from_us, to_us=to_us)
    except ValueError as error:
        raise CommandLineError(str(error)) from error


def _distribution(paths: tuple[str, ...], figure: str | None) -> Drawn:
    from yak_sim.plot.distribution import draw_distribution
    from yak_sim.run.run_folder import FormatError, read_verdict

    if figure is None:
        raise CommandLineError("--kind distribution needs --figure NAME, a figure of the verdicts")
    groups: dict[str, list[float]] = {}
    for path in paths:
        try:
            verdict = read_verdict(Path(path))
        except FormatError as error:
            raise CommandFailed(f"{path}: {error}") from error
        except OSError as error:
            raise CommandLineError(f"cannot read the run {path}: {error.strerror}") from error
        figures, settings = verdict["figures"], verdict.get("settings", {})
        assert isinstance(figures, dict)
        assert isinstance(settings, dict)
        if figure not in figures:
            known = ", ".join(sorted(figures)) or "no figure"
            raise CommandLineError(f"the run {path} has no figure {figure!r}; it has {known}")
        group = ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
        groups.setdefault(group, []).append(float(figures[figure]))
    if len(groups) > 1 and "" in groups:
        groups["default settings"] = groups.pop("")
    return draw_distribution(groups, label=figure)


def _write(target: Path, drawn: Drawn) -> None:
    rendered = drawn.rendered()
    try:
        write_whole(target, rendered.png if target.suffix.lower() == ".png" else rendered.svg)
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandLineError(f"cannot write {target}: {why}") from error
