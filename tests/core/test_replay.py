"""Replay of recorded events gives the recorded effects, or a difference is reported.

Method: traces of simulated runs, as they are and with one thing changed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.core.trace_edits import edited, short_run
from tests.core.trace_samples import short_trace
from tests.mutants import MUTANTS
from tests.scenarios.scenario_runs import FIRST_NAMES, NAMES, run
from yak_core.contract.events import Started
from yak_core.ids import Micros, Offset
from yak_core.rules import Rules
from yak_core.trace.reader import TraceReader, decode_trace, encode_trace
from yak_core.trace.recorder import Fault, Step
from yak_core.trace.replay import Difference, Replay, Replayed, TraceReplay, replay_lines
from yak_core.trace.version import core_digest, digest_in, files_of, version_text

KINDS = {"n": "broker", "p": "producer", "c": "consumer"}
SAMPLE = Path(__file__).parents[1] / "golden_formats" / "trace_2.jsonl"


@cache
def short_lines() -> list[bytes]:
    """Return the lines of the short run's trace."""
    return list(encode_trace(short_run()))


def replay_steps(steps: Iterable[Step]) -> tuple[Replayed, ...]:
    """Replay decoded steps."""
    replay = Replay()
    for step in steps:
        replay.replay_step(step)
    return replay.results()


def differing(replay: TraceReplay) -> list[Replayed]:
    """Return the starts with a difference."""
    return [start for start in replay.starts if start.difference is not None]


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in (*FIRST_NAMES, "power_loss")
        else pytest.param(name, marks=pytest.mark.long)
        for name in NAMES
    ],
)
def test_every_start_of_a_scenario_replays(name: str) -> None:
    """Goal: nodes have no input but events. Method: the whole trace of each scenario."""
    trace = run(name, 7).trace
    replay = replay_lines(encode_trace(trace))
    assert replay.identical
    assert (replay.damage, replay.incomplete, replay.dropped) == ("", False, 0)
    assert replay.header == trace.header
    assert replay.steps == len(trace) == sum(start.steps for start in replay.starts)
    assert {(step.node, step.start) for step in trace} == {(r.node, r.start) for r in replay.starts}
    assert all(start.kind == KINDS[start.node[0]] for start in replay.starts)
    assert len(replay.starts) > 4


def test_steps_replay_as_the_lines_of_their_trace() -> None:
    """Method: replay the short run from lines and from steps."""
    lines = short_lines()
    assert replay_steps(decode_trace(lines)) == replay_lines(lines).starts


def numbers_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of each integer and boolean inside JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, (dict, list)):
            yield from numbers_in(inner)
        elif isinstance(inner, int):
            yield value, key


@pytest.mark.parametrize("part", range(4))
def test_any_changed_effect_is_reported(part: int) -> None:
    """Goal: every effect is compared. Method: change one effect in each step with effects."""
    draw = random.Random(part)

    def alter(step: dict[str, Any]) -> None:
        effects = step["fx"]
        at = draw.randrange(len(effects))
        numbers = list(numbers_in(effects[at]))
        how = draw.choice(["drop", "double", "number", "number", "number"])
        if how == "number" and numbers:
            holder, key = draw.choice(numbers)
            old = holder[key]
            holder[key] = not old if isinstance(old, bool) else old ^ 1
        elif how == "drop":
            del effects[at]
        else:
            effects.insert(at, effects[at])

    tried = 0
    for step in short_run():
        if not step.effects or step.i % 4 != part:
            continue
        tried += 1
        replay = replay_lines(edited(short_lines(), step.i, alter), until=step.i)
        [start] = differing(replay)
        assert (start.node, start.start) == (step.node, step.start)
        assert start.difference is not None
        assert start.difference.step == step.i
        assert start.difference.recorded != start.difference.replayed
        assert f"step {step.i} at {step.t_us} us, " in start.difference.sentence
        assert not replay.identical
    assert tried > 20


def test_an_added_or_reordered_effect_is_reported() -> None:
    """Goal: number and order count. Method: add an effect, and swap two."""
    silent = next(step for step in short_run() if not step.effects)
    lines = edited(short_lines(), silent.i, lambda v: v["fx"].append({"CancelTimer": {"key": "x"}}))
    [start] = differing(replay_lines(lines))
    assert start.difference is not None
    assert start.difference.sentence.endswith(
        'effect 1 was recorded as {"CancelTimer":{"key":"x"}}, but is replayed as nothing'
    )
    busy = next(step for step in short_run() if len(step.effects) > 1)
    lines = edited(short_lines(), busy.i, lambda v: v["fx"].reverse())
    [start] = differing(replay_lines(lines))
    assert start.difference is not None
    assert start.difference.step == busy.i
    assert start.difference.replayed == start.difference.recorded[::-1]


CHANGED = {
    "commit what one replica has": "leader_failover",
    "no truncation": "leader_failover",
    "never in lag": "slow_follower",
    "no stepping down": "zombie_leader",
    "read up to the LEO": "zombie_leader",
}
"""Names of mutants, each with a scenario in which it decides differently."""


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_rule_is_reported(name: str) -> None:
    """Goal: changed code is detected. Method: replace one entry of Rules."""
    trace = run(CHANGED[name], 7).trace
    replay = replay_lines(encode_trace(trace), MUTANTS[name].variant)
    assert not replay.identical
    assert {start.kind for start in differing(replay)} == {"broker"}
    for start in differing(replay):
        assert start.difference is not None
        assert start.difference.recorded != start.difference.replayed


def test_a_step_that_raises_is_a_difference() -> None:
    """Goal: an exception is reported like other differences. Method: a rule that raises."""

    def never(_now: Micros, _since: Micros, _match: Offset, _leo: Offset, _lag: Micros) -> bool:
        raise ValueError("on purpose")

    rules = replace(Rules(), in_lag=never)
    trace = run("slow_follower", 7).trace
    [start] = differing(replay_lines(encode_trace(trace), rules))
    assert start.kind == "broker"
    assert start.difference is not None
    assert start.difference.error.endswith("ValueError: on purpose")
    assert start.difference.replayed == ()
    assert start.difference.sentence.endswith(" raises ValueError: on purpose")
    stopped = replay_lines(encode_trace(trace), rules, until=start.difference.step)
    assert stopped.at == trace.step(start.difference.step)
    assert stopped.snapshot is None, "there is no state after an exception"


def test_clients_are_distinguished_by_their_calls() -> None:
    """Goal: names have no meaning. Method: the same steps under other names."""
    other = {"p1": "c", "c1": "p"}
    steps = [step._replace(node=other.get(step.node, step.node)) for step in short_run()]
    starts = {start.node: start for start in replay_steps(steps)}
    assert (starts["c"].kind, starts["p"].kind) == ("producer", "consumer")
    assert all(start.difference is None for start in starts.values())


def test_a_client_without_a_call_replays() -> None:
    """Goal: a start may end before its first call. Method: the first step of each client."""
    firsts = [step for step in short_run() if isinstance(step.event, Started)]
    starts = replay_steps(step for step in firsts if step.node in ("p1", "c1"))
    assert [(start.kind, start.steps, start.difference) for start in starts] == [
        ("producer", 1, None),
        ("consumer", 1, None),
    ]


def test_a_start_without_its_first_step_cannot_be_replayed() -> None:
    """Goal: no comparison with a node in the wrong state. Method: omit the first step."""
    steps = [step for step in short_run() if step.node == "n1"]
    [start] = replay_steps(steps[1:])
    assert (start.kind, start.steps) == ("", 0)
    assert start.difference is not None
    assert start.difference.step == steps[1].i
    assert re.search("start 1 of n1 .*Started", start.difference.error)


def test_a_made_up_trace_has_differences_and_never_raises() -> None:
    """Goal: any well-formed file gives a result. Method: samples that no node has produced."""
    with SAMPLE.open("rb") as lines:
        sample = replay_lines(lines)
    assert sample == replay_lines(encode_trace(short_trace()))
    assert [start.node for start in differing(sample)] == ["n1", "n2", "p1"]
    assert sample.steps == 12


def test_a_truncated_file_is_replayed_up_to_its_last_whole_line() -> None:
    """Goal: the trace of a killed process is usable. Method: truncate anywhere after the header."""
    data = b"".join(short_lines())
    first = len(short_lines()[0])
    for end in [first, *range(first + 1, len(data), 9_973), len(data) - 1]:
        replay = replay_lines(data[:end].splitlines(keepends=True))
        assert replay.identical
        assert replay.incomplete
        assert replay.steps == data.count(b'\n{"i":', 0, data.rfind(b"\n", 0, end) + 1)
    assert not replay_lines(short_lines()).incomplete


def test_damage_ends_the_replay() -> None:
    """Goal: a damaged file is not identical. Method: a changed byte, and a file without a trace."""
    lines = short_lines().copy()
    lines[100] = lines[100].replace(b'"t":', b'"T":', 1)
    replay = replay_lines(lines)
    assert re.match(r"line 101 .*\b100\b.*\b99\b", replay.damage)
    assert not replay.identical
    assert differing(replay) == []
    assert replay.steps == 99
    nothing = replay_lines([b"hello\n"])
    assert "line 1 " in nothing.damage
    assert (nothing.header, nothing.starts, nothing.identical) == (None, (), False)


def test_the_replayed_node_equals_the_recorded_one() -> None:
    """Goal: a snapshot from a trace is the node's. Method: compare it with the live node."""
    result = run("zombie_leader", 7)
    last = {step.node: step.i for step in result.trace}
    for node in ("n1", "n2", "n3"):
        replay = replay_lines(encode_trace(result.trace), until=last[node])
        assert replay.at is not None
        assert (replay.at.i, replay.at.node) == (last[node], node)
        assert replay.snapshot == result.world.node(node).snapshot()
        assert replay.steps == last[node] + 1
    assert replay_lines(short_lines(), until=10**6).at is None
    first = replay_lines(short_lines(), until=0)
    assert (first.steps, first.incomplete) == (1, False)


def test_a_long_effect_is_shown_at_its_difference() -> None:
    """Goal: a short message. Method: two long texts with a late difference."""
    one, other = (f"{'a' * 900}{word}{'z' * 900}" for word in ("X", "Y"))
    sentence = Difference(1, 2, "e", ("same", one), ("same", other)).sentence
    assert re.match(r"step 1 at 2 us, e: effect 2 .*\.\.\.aaa", sentence)
    assert "aXz" in sentence
    assert "aYz" in sentence
    assert len(sentence) < 750


def test_a_reader_gives_steps_and_faults_in_order() -> None:
    """Goal: a trace can be read as a stream. Method: compare with the decoded trace."""
    trace = short_trace()
    found = list(TraceReader(encode_trace(trace)))
    assert [one for one in found if isinstance(one, Fault)] == list(trace.faults)
    assert [one.i for one in found if not isinstance(one, Fault)] == list(range(12))
    assert isinstance(found[7], Fault)


def test_the_digest_of_the_core_depends_on_its_sources_alone() -> None:
    """Method: change the order, the line ends, and other files."""
    sources = [("a.py", b"one\ntwo\n"), ("b/c.lua", b"three\n")]
    digest = core_digest(sources)
    assert len(digest) == 16
    assert core_digest([*sources[::-1], ("a.pyc", b"x"), ("notes.txt", b"y")]) == digest
    assert core_digest([("a.py", b"one\r\ntwo\r\n"), sources[1]]) == digest
    changed = [
        [("a.py", b"one\ntwo"), sources[1]],
        [("b.py", b"one\ntwo\n"), sources[1]],
        sources[:1],
        [("a.py", b"one\ntwo\nb/c.lua\n6\nthree\n")],
    ]
    assert len({digest, *map(core_digest, changed)}) == 5
    assert version_text("1.2.3", digest) == f"1.2.3+core.{digest}"
    assert digest_in(f"1.2.3+core.{digest}") == digest
    assert (digest_in(""), digest_in("1.2.3")) == ("", "")
    here = dict(files_of(resources.files("yak_core")))
    assert b"def core_digest" in here["trace/version.py"]
    assert not any("__pycache__" in name for name in here)
