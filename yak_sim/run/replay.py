"""``yak sim replay``: gives recorded events to new nodes again; must never decide what is equal.

Traces of simulated runs and of real brokers are replayed alike, because both worlds run the same
nodes; :mod:`yak_core.trace.replay` does it, here files are read and results told.
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
    """What the replay of one file came to; ``unreadable`` says why there is no ``replay``."""

    path: Path
    replay: TraceReplay | None
    unreadable: str = ""

    @property
    def identical(self) -> bool:
        """Whether the file is an intact trace, each step of which came out as recorded."""
        return self.replay is not None and self.replay.identical

    @property
    def exit_code(self) -> int:
        """0 identical, 1 a difference or damage, 2 unreadable."""
        if self.replay is None:
            return UNREADABLE
        return IDENTICAL if self.replay.identical else DIFFERENT

    @property
    def lines(self) -> tuple[str, ...]:
        """One line a start."""
        return () if self.replay is None else tuple([start_line(one) for one in self.replay.starts])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What else there is to say, a sentence each: damage, missing steps, another core."""
        return (self.unreadable,) if self.replay is None else tuple(_remarks(self.replay))


def replay_paths(
    paths: Iterable[Path], rules: Rules | None = None, until: int | None = None
) -> Iterator[FileReplay]:
    """Replay trace files, or those in the folders of runs, one by one; nothing is raised."""
    for path in paths:
        try:
            file = path / TRACE if path.is_dir() else path
            with file.open("rb") as lines:
                replay = replay_lines(lines, rules, until)
        except OSError as error:
            why = f"the trace cannot be read: {error.strerror or error}"
            yield FileReplay(path, None, why)
        else:
            yield FileReplay(path, replay)


def replay_command(traces: tuple[str, ...], until: int | None) -> int:
    """Replay and tell, data on stdout and remarks on stderr; returns the exit code."""
    worst = IDENTICAL
    for found in replay_paths(map(Path, traces), until=until):
        prefix = f"{found.path}: " if len(traces) > 1 else ""
        for line in found.lines:
            click.echo(f"{prefix}{line}")
        for remark in found.remarks:
            click.echo(f"{found.path}: {remark}", err=True)
        worst = max(worst, found.exit_code)
        if until is not None and found.replay is not None:
            worst = max(worst, _tell_snapshot(found.path, found.replay, until))
    return worst


def start_line(one: Replayed) -> str:
    """``n1 start 1: 1234 steps, effects identical``, or what is not."""
    steps = f"{one.steps} step{'' if one.steps == 1 else 's'}"
    if one.difference is None:
        return f"{one.node} start {one.start}: {steps}, effects identical"
    return f"{one.node} start {one.start}: {one.difference.sentence} (the {steps} before it agree)"


def _remarks(replay: TraceReplay) -> Iterator[str]:
    if replay.damage:
        yield replay.damage
    if replay.cut_short:
        yield f"the file was cut short: replayed up to its last whole line, {replay.steps} steps"
    if replay.dropped:
        yield f"the trace had reached its limit: {replay.dropped} later steps are not in it"
    theirs = digest_in(replay.header.version) if replay.header else ""
    if theirs and theirs != own_digest():
        yield f"recorded by core {theirs}, replayed by core {own_digest()}: effects may differ"


def _tell_snapshot(path: Path, replay: TraceReplay, until: int) -> int:
    at, snapshot = replay.at, replay.snapshot
    if at is None:
        if replay.damage:
            return DIFFERENT
        has = f"it has {replay.steps} steps, counted from 0"
        click.echo(f"{path}: the trace has no step {until}: {has}", err=True)
        return UNREADABLE
    [start] = [one for one in replay.starts if (one.node, one.start) == (at.node, at.start)]
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
    """The digest of the core that is installed here."""
    return core_digest(files_of(resources.files("yak_core")))
