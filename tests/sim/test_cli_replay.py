"""``yak sim replay``: output and exit codes.

Method: the command on recorded and on changed traces.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scenarios.leader_failover import leader_failover
from tests.core.trace_edits import alone, edited, short_run
from tests.mutants import MUTANTS
from yak_cli import main
from yak_core.trace.reader import encode_trace
from yak_core.trace.recorder import Header, Trace
from yak_sim import run_scenario
from yak_sim.run.replay import own_digest, replay_paths
from yak_sim.run.run_folder import write_run

OTHER = "0" * 16


def command(*words: str | Path) -> Result:
    """Run ``yak sim replay`` in this process."""
    return CliRunner().invoke(main, ["sim", "replay", *map(str, words)])


def lines_of(header: Header | None = None, limit: int | None = None) -> list[bytes]:
    """Return the lines of the short run's trace, with another header or a limit of steps."""
    short = short_run()
    trace = Trace(header or short.header, limit or len(short))
    for step in short:
        trace.record(*step[1:7])
    return list(encode_trace(trace))


def kept(path: Path, lines: list[bytes]) -> Path:
    """Write the lines to a file."""
    path.write_bytes(b"".join(lines))
    return path


def test_a_run_folder_replays(tmp_path: Path) -> None:
    """Goal: one line for each start. Method: a whole run, by the link to its folder."""
    result = run_scenario(leader_failover, 7)
    folder = write_run(result, tmp_path, ["yak"])
    crashed = next(fault.target for fault in result.faults if fault.kind == "crash")
    done = command(folder.parent / "latest")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    starts = Counter((step.node, step.start) for step in result.trace)
    assert sorted(lines) == sorted(
        f"{node} start {start}: {steps} steps, effects identical"
        for (node, start), steps in starts.items()
    )
    assert any(line.startswith(f"{crashed} start 2: ") for line in lines)


def test_the_trace_of_a_real_broker_replays(tmp_path: Path) -> None:
    """Method: one start in its own file, as a broker writes it."""
    trace = Trace(Header("net", "", 0, f"0.1.0+core.{own_digest()}"))
    for step in alone(short_run(), "n2"):
        trace.record(*step[1:7])
    path = kept(tmp_path / "n2.jsonl", list(encode_trace(trace)))
    done = command(path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"n2 start 1: {len(trace)} steps, effects identical\n"


def test_a_difference_is_one_line(tmp_path: Path) -> None:
    """Goal: step, event, recorded and replayed effect. Method: change a timer in the file."""
    at, timer = next(
        (step.i, where)
        for step in short_run()
        for where, effect in enumerate(step.effects)
        if type(effect).__name__ == "SetTimer" and step.node == "n1"
    )

    def later(step: dict[str, object]) -> None:
        effects = step["fx"]
        assert isinstance(effects, list)
        effects[timer]["SetTimer"]["hi_us"] = 77

    path = kept(tmp_path / "trace.jsonl", edited(lines_of(), at, later))
    done = command(path)
    assert (done.exit_code, done.stderr) == (1, "")
    shown = [line for line in done.stdout.splitlines() if "effects identical" not in line]
    assert len(shown) == 1
    assert shown[0].startswith(f"n1 start 1: step {at} at ")
    assert re.search(rf'effect {timer + 1} .*SetTimer.*"hi_us":77.*SetTimer', shown[0])
    assert done.stdout.count("effects identical") == 4


def test_a_difference_before_the_step_is_reported(tmp_path: Path) -> None:
    """Goal: no snapshot after a difference. Method: ``--until`` beyond a difference."""
    steps = [step for step in short_run() if step.node == "n1" and step.effects]
    path = kept(
        tmp_path / "trace.jsonl", edited(lines_of(), steps[2].i, lambda step: step["fx"].pop())
    )
    done = command(path, "--until", str(steps[9].i))
    assert done.exit_code == 1
    assert f"n1 start 1 after step {steps[2].i}, broker:\n" in done.stdout
    assert "  step: " not in done.stdout


def test_until_prints_the_snapshot(tmp_path: Path) -> None:
    """Method: one step of each kind of node."""
    path = kept(tmp_path / "trace.jsonl", lines_of())
    kinds = {"n3": "broker", "p1": "producer", "c1": "consumer"}
    for node, kind in kinds.items():
        last = max(step.i for step in short_run() if step.node == node)
        done = command(path, "--until", str(last))
        assert (done.exit_code, done.stderr) == (0, "")
        _, _, shown = done.stdout.partition(f"{node} start 1 after step {last}, {kind}:\n")
        at = short_run().step(last).t_us
        assert shown.startswith(f'  step: at {at} us, {{"')
        assert f'\n  node: "{node}"\n' in shown
    assert "\n  position: 4\n" in command(path, "--until", str(len(short_run()) - 1)).stdout


def test_a_step_out_of_range_is_a_usage_error(tmp_path: Path) -> None:
    """Method: one step beyond the end."""
    path = kept(tmp_path / "trace.jsonl", lines_of())
    count = len(short_run())
    done = command(path, "--until", str(count))
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{path}: ")
    assert done.stderr.count(str(count)) == 2
    assert command(path, "--until", "-1").exit_code == 2
    assert command().exit_code == 2


@pytest.mark.parametrize(
    ("lines", "pattern"),
    [
        (
            lambda: [*lines_of()[:51], lines_of()[51][:40]],
            "incomplete.* 50 ",
        ),
        (
            lambda: lines_of(limit=30),
            f"limit.* {len(short_run()) - 30} ",
        ),
        (
            lambda: lines_of(Header("net", "", 0, f"0.1.0+core.{OTHER}")),
            f"{OTHER}.*{own_digest()}",
        ),
    ],
    ids=["cut short", "limited", "another core"],
)
def test_limits_of_a_replay_are_reported(
    tmp_path: Path, lines: Callable[[], list[bytes]], pattern: str
) -> None:
    """Goal: identical up to the limit. Method: a truncated line, a limit of steps, another core."""
    path = kept(tmp_path / "n1.jsonl", lines())
    done = command(path)
    assert done.exit_code == 0
    assert re.fullmatch(f"{path}: .*{pattern}.*\n", done.stderr)
    assert "effects identical" in done.stdout


def test_exit_codes_of_damaged_and_unreadable_traces(tmp_path: Path) -> None:
    """Goal: 1 for a bad trace, 2 for a missing one. Method: each alone, and some together."""
    good = kept(tmp_path / "good.jsonl", lines_of())
    lines = lines_of()
    lines[60] = lines[60].replace(b'"t":', b'"t":1', 1)
    damaged = kept(tmp_path / "damaged.jsonl", lines)
    done = command(damaged)
    assert done.exit_code == 1
    assert re.match(rf"{damaged}: line 61 .*\b60\b.*\b59\b", done.stderr)
    assert "effects identical" in done.stdout
    text = kept(tmp_path / "text", [b"hello\n"])
    done = command(text)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{text}: ")
    assert "line 1 " in done.stderr
    missing = tmp_path / "missing.jsonl"
    done = command(missing, good, damaged)
    assert done.exit_code == 2
    assert re.search(f"{missing}: .*{os.strerror(errno.ENOENT)}", done.stderr)
    assert done.stdout.count("effects identical") == 10
    for path in (good, damaged):
        assert f"{path}: n1 start 1: " in done.stdout
    assert command(good, damaged).exit_code == 1
    assert command(damaged, "--until", "70").exit_code == 1


@pytest.mark.parametrize("broken", [False, True])
def test_other_programs_get_the_results(tmp_path: Path, broken: bool) -> None:
    """Goal: `yak demo` can use the results. Method: the function of the command, two files."""
    paths = [kept(tmp_path / name, lines_of()) for name in ("a.jsonl", "b.jsonl")]
    results = list(
        replay_paths(paths, MUTANTS["commit what one replica has"].variant if broken else None)
    )
    assert [result.path for result in results] == paths
    assert [result.identical for result in results] == [not broken] * 2
    assert [result.exit_code for result in results] == [int(broken)] * 2
    for result in results:
        assert result.warnings == ()
        assert len(result.lines) == 5
        assert result.replay is not None
        assert sum("was recorded as" in line for line in result.lines) == int(broken)
