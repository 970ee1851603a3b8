"""``yak sim replay``: replays the events of trace files through new nodes.

Traces of simulated runs and of real brokers are replayed in the same way, because both worlds run
the same nodes. :mod:`yak_core.trace.replay` replays and compares; this module reads the files and
prints the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

import click

from yak_core.rules import Rules
from yak_core.trace.replay import Replayed, TraceReplay, replay_lines
from yak_core.trace.version import core_digest, digest_in, files_of
from yak_core.trace.writer import EVENT
from yak_sim.run.run_folder import TRACE

IDENTICAL: Final = 0
DIFFERENT: Final = 1
UNREADABLE: Final = 2


@dataclass(frozen=True, slots=True)
class FileReplay:
    """The result of one replayed file; ``unreadable`` is the error if ``replay`` is None."""

    path: Path
    replay: TraceReplay | None
    unreadable: str = ""

    @property
    def identical(self) -> bool:
        """Return whether the trace is intact and every step gave the recorded effects."""
        return self.replay is not None and self.replay.identical

    @property
    def exit_code(self) -> int:
        """Return 0 for identical, 1 for a difference or damage, 2 for unreadable."""
        if self.replay is None:
            return UNREADABLE
        return IDENTICAL if self.replay.identical else DIFFERENT

    @property
    def lines(self) -> tuple[str, ...]:
        """Return one line per start of a node."""
        return () if self.replay is None else tuple(map(start_line, self.replay.starts))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings: damage, missing steps, a different version of the core."""
        return (self.unreadable,) if self.replay is None else tuple(_warnings(self.replay))


def replay_paths(
    paths: Iterable[Path], rules: Rules | None = None, until: int | None = None
) -> Iterator[FileReplay]:
    """Replay trace files or run folders, one by one. A read error is part of the result."""
    for path in paths:
        try:
            file = path / TRACE if path.is_dir() else path
            with file.open("rb") as lines:
                replay = replay_lines(lines, rules, until)
        except OSError as error:
            why = f"cannot read the trace: {error.strerror or error}"
            yield FileReplay(path, None, why)
        else:
            yield FileReplay(path, replay)


def replay_command(traces: tuple[str, ...], until: int | None) -> int:
    """Replay, print the results to stdout and warnings to stderr, and return the exit code."""
    exit_code = IDENTICAL
    for file_replay in replay_paths(map(Path, traces), until=until):
        prefix = f"{file_replay.path}: " if len(traces) > 1 else ""
        for line in file_replay.lines:
            click.echo(f"{prefix}{line}")
        for warning in file_replay.warnings:
            click.echo(f"{file_replay.path}: {warning}", err=True)
        exit_code = max(exit_code, file_replay.exit_code)
        if until is not None and file_replay.replay is not None:
            exit_code = max(exit_code, _print_snapshot(file_replay.path, file_replay.replay, until))
    return exit_code


def start_line(replayed: Replayed) -> str:
    """Return ``n1 start 1: 1234 steps, effects identical``, or the first difference."""
    name = f"{replayed.node} start {replayed.start}"
    steps = f"{replayed.steps} step{'' if replayed.steps == 1 else 's'}"
    if replayed.difference is None:
        return f"{name}: {steps}, effects identical"
    return f"{name}: {replayed.difference.sentence} ({steps} before it identical)"


def _warnings(replay: TraceReplay) -> Iterator[str]:
    if replay.damage:
        yield replay.damage
    if replay.incomplete:
        yield f"the trace is incomplete: replayed its {replay.steps} complete steps"
    if replay.dropped:
        yield f"the trace reached its size limit: {replay.dropped} later steps are missing"
    recorded_by = digest_in(replay.header.version) if replay.header else ""
    if recorded_by and recorded_by != own_digest():
        yield f"recorded by core {recorded_by}, replayed by core {own_digest()}: effects may differ"


def _print_snapshot(path: Path, replay: TraceReplay, until: int) -> int:
    at, snapshot = replay.at, replay.snapshot
    if at is None:
        if replay.damage:
            return DIFFERENT
        has = f"it has {replay.steps} steps, numbered from 0"
        click.echo(f"{path}: no step {until} in the trace: {has}", err=True)
        return UNREADABLE
    [start] = [each for each in replay.starts if (each.node, each.start) == (at.node, at.start)]
    if snapshot is None:
        return DIFFERENT
    last = at.i if start.difference is None else start.difference.step
    click.echo(f"{at.node} start {at.start} after step {last}, {snapshot.kind}:")
    if last == at.i:
        click.echo(f"  step: at {at.t_us} us, {EVENT.encode(at.event)}")
    for name, value in snapshot.values:
        click.echo(f"  {name}: {json.dumps(value)}")
    return IDENTICAL


@cache
def own_digest() -> str:
    """Return the digest of the installed core."""
    return core_digest(files_of(resources.files("yak_core")))
