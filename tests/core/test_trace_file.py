"""Traces in memory and on file: canonical, with a digest, and all damage is detected.

Method: a small trace with every kind of line, changed at every byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.trace_samples import long_trace, short_trace
from yak_core.contract.events import Event, PeerLost, TimerFired
from yak_core.contract.host import Recorder
from yak_core.encoding.json_scalars import Mismatch
from yak_core.trace.reader import TraceError, decode_trace, digest_of, digest_of_file, encode_trace
from yak_core.trace.recorder import STEPS_MAX, Fault, Header, Trace
from yak_core.trace.writer import CHECKPOINT_STEPS, TraceLines

LINES = list(encode_trace(short_trace()))


def lines_of(data: bytes) -> Iterator[bytes]:
    """Yield the lines as a binary file does."""
    return iter(BytesIO(data))


def sealed_again(lines: list[bytes]) -> list[bytes]:
    """Return the lines with valid checksums, so that only their contents can be wrong."""
    crc = 0
    out = []
    for line in lines:
        body = line.rpartition(b',"crc":')[0]
        crc = crc32c(body, crc)
        out.append(body + b',"crc":"%08x"}\n' % crc)
    return out


def test_a_trace_comes_back_from_its_file() -> None:
    """Goal: only payloads are lost. Method: read, write again, compare bytes."""
    back = decode_trace(LINES)
    assert list(encode_trace(back)) == LINES
    trace = short_trace()
    assert back.header == trace.header
    assert back.faults == trace.faults
    assert back.fault_positions == trace.fault_positions
    assert [step[:4] for step in back] == [step[:4] for step in trace]
    assert [step.effects for step in list(back)[:5]] == [step.effects for step in list(trace)[:5]]


def test_lines_are_json_objects_in_the_documented_order() -> None:
    """Goal: any tool can read the file. Method: the field names of each kind of line."""
    values = [json.loads(line) for line in LINES]
    assert list(values[0]) == ["schema", "kind", "world", "scenario", "seed", "version", "crc"]
    step = ["i", "t", "n", "start", "cause", "ev", "fx", "vc", "crc"]
    kinds = [list(value) for value in values[1:]]
    assert kinds == [step] * 7 + [["fault", "crc"]] + [step] * 5 + [
        ["fault", "crc"],
        ["end", "crc"],
    ]
    assert list(values[8]["fault"].items()) == [
        ("at_us", 41),
        ("kind", "slow_link"),
        ("target", "n1>n3"),
        ("for_us", 1_000),
        ("delay_us", 5_000),
        ("why", "x"),
    ]
    assert all(line.isascii() for line in LINES)


def test_vector_clocks_follow_the_causes() -> None:
    """Goal: a clock counts the possible causes of a step. Method: the path of one record."""
    clocks = [json.loads(line).get("vc") for line in LINES]
    steps = [clock for clock in clocks if clock is not None]
    assert steps == [
        {"n1": 1},
        {"n2": 1},
        {"p1": 1},
        {"n1": 2},
        {"n1": 3},
        {"p1": 2},
        {"n1": 4, "p1": 2},
        {"n1": 5, "p1": 2},
        {"n1": 4, "n2": 2, "p1": 2},
        {"n1": 6, "n2": 2, "p1": 2},
        {"n1": 4, "n2": 3, "p1": 2},
        {"n1": 6, "n2": 2, "p1": 3},
    ]


def test_the_clock_of_a_single_node_is_the_number_of_its_steps() -> None:
    """Goal: a trace can be written as a stream. Method: two steps of one node, then another."""
    lines = TraceLines(Header())
    for count in (1, 2):
        line = lines.step(0, "n1", 1, TimerFired("t"), [], -1)
        assert json.loads(line)["vc"] == {"n1": count}
    assert lines.step(0, "n1", 1, TimerFired("t"), [], -1, room=10) == b""
    assert lines.steps == 2
    with pytest.raises(AssertionError, match="node"):
        lines.step(0, "n2", 1, TimerFired("t"), [], -1)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=40))
def test_vector_clocks_agree_with_reachability(plan: list[tuple[str, int]]) -> None:
    """Goal: the one-pass clocks are right. Method: random causes, compared with graph search."""
    trace = Trace()
    reaches: list[set[int]] = []
    last: dict[str, int] = {}
    for i, (node, back) in enumerate(plan):
        cause = i - 1 - back if back < i else -1
        trace.record(i, node, 1, TimerFired("t"), [], cause)
        before = [at for at in (cause, last.get(node, -1)) if at >= 0]
        reaches.append({i}.union(*(reaches[at] for at in before)))
        last[node] = i
    for line in list(encode_trace(trace))[1:-1]:
        step = json.loads(line)
        counts = dict.fromkeys(sorted({plan[at][0] for at in reaches[step["i"]]}), 0)
        for at in reaches[step["i"]]:
            counts[plan[at][0]] += 1
        assert step["vc"] == counts


def test_the_digest_of_memory_is_that_of_the_file() -> None:
    """Goal: the printed digest is the file's. Method: short, empty and long traces."""
    for trace in (short_trace(), Trace(), long_trace(2_500)):
        digest = digest_of(trace)
        lines = list(encode_trace(trace))
        assert digest_of_file(iter(lines)) == digest
        assert len(digest) == 32
        assert set(digest) <= set("0123456789abcdef")
        assert json.loads(lines[-1])["end"]["digest"] == digest
        assert digest_of(decode_trace(lines)) == digest


def test_the_digest_depends_on_the_records_alone() -> None:
    """Goal: equal runs have one digest. Method: other headers, then other records."""
    trace = short_trace()
    digest = digest_of(trace)
    trace.header = Header("net", "other", 8, "99")
    assert digest_of(trace) == digest
    trace.fault(Fault(99, "crash", "n2"))
    with_fault = digest_of(trace)
    assert with_fault != digest
    trace.record(100, "n1", 1, PeerLost("n2"), [], -1)
    assert len({digest, with_fault, digest_of(trace)}) == 3


def test_checkpoints_come_every_thousand_steps() -> None:
    """Goal: two long runs can be compared in parts. Method: a different step in the third."""
    trace = long_trace(3 * CHECKPOINT_STEPS)
    other = Trace(trace.header)
    for step in trace:
        changed = 1 if step.i == 2 * CHECKPOINT_STEPS else 0
        other.record(step.t_us + changed, *step[2:7])
    mine, theirs = (
        [
            json.loads(line)["checkpoint"]
            for line in encode_trace(one)
            if line.startswith(b'{"checkpoint"')
        ]
        for one in (trace, other)
    )
    assert [a == b for a, b in zip(mine, theirs, strict=True)] == [True, True, False]
    assert [mark["steps"] for mark in mine] == [1_000, 2_000, 3_000]
    assert digest_of_file(encode_trace(trace)) == mine[-1]["digest"]


@pytest.mark.parametrize(("read", "every"), [(digest_of_file, 1), (decode_trace, 17)])
def test_any_changed_byte_is_reported_with_its_line(
    read: Callable[[Iterator[bytes]], object], every: int
) -> None:
    """Goal: all damage is detected. Method: change each byte of the file in two ways."""
    data = b"".join(LINES)
    line_of: list[int] = []
    for number, line in enumerate(LINES, 1):
        line_of += [number] * len(line)
    for at in range(0, len(data), every):
        for bits in (0x01 << at % 8, data[at] ^ 0x0A):
            if not bits:
                continue
            damaged = data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]
            with pytest.raises(TraceError) as caught:
                read(lines_of(damaged))
            assert caught.value.line == line_of[at], (at, damaged)
            assert f"line {line_of[at]} " in str(caught.value)


def test_a_truncated_file_is_reported() -> None:
    """Goal: a truncated file never counts as complete. Method: truncate after each byte."""
    data = b"".join(LINES)
    for end in range(len(data)):
        with pytest.raises(TraceError):
            digest_of_file(lines_of(data[:end]))
    whole_lines = data[: -len(LINES[-1])]
    with pytest.raises(TraceError, match=r"footer.*incomplete"):
        digest_of_file(lines_of(whole_lines))
    with pytest.raises(TraceError, match="incomplete"):
        digest_of_file(lines_of(data[:-1]))


@pytest.mark.parametrize("number", range(1, len(LINES)))
def test_missing_repeated_and_swapped_lines_are_reported(number: int) -> None:
    """Goal: checksums chain the lines. Method: omit, repeat and swap each line."""
    before, line, after = LINES[:number], LINES[number], LINES[number + 1 :]
    swapped = [*before[:-1], line, before[-1], *after]
    for lines in (before + after, [*before, line, line, *after], swapped):
        with pytest.raises(TraceError) as caught:
            digest_of_file(lines)
        assert caught.value.line in (number, number + 1, number + 2)


def test_a_truncated_file_can_be_read_on_request() -> None:
    """Goal: the trace of a killed process is usable. Method: truncate anywhere after the header."""
    data = b"".join(LINES)
    for end in range(len(LINES[0]), len(data), 97):
        back = decode_trace(lines_of(data[:end]), incomplete=True)
        steps = sum(line.startswith(b'{"i"') for line in LINES if line in data[:end])
        assert len(back) == steps
    assert digest_of(decode_trace(LINES, incomplete=True)) == digest_of(short_trace())
    damaged = data.replace(b'"n":"n2"', b'"n":"n9"', 1)
    with pytest.raises(TraceError, match="checksum"):
        decode_trace(lines_of(damaged), incomplete=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xfe\xfa\n", "line 1 .*UTF-8"),
        (b"hello\n", "line 1 .*JSON object"),
        (b"[" * 100_000, "line 1 .*JSON object"),
        (b"[1]\n", 'line 1 .*"kind":"yak-trace"'),
        (b'{"schema":1}\n', 'line 1 .*"kind":"yak-trace"'),
        (b'{"schema":3,"kind":"yak-trace"}\n', "line 1 .*schema 3"),
        (b'{"schema":1,"kind":"yak-trace"}\n', "line 1 .*record 0.* 0 steps.*checksum"),
    ],
)
def test_other_files_are_refused(data: bytes, reason: str) -> None:
    """Goal: other files are distinguished from damaged traces. Method: some other files."""
    for read in (digest_of_file, decode_trace):
        with pytest.raises(TraceError, match=reason):
            read(lines_of(data))


@pytest.mark.parametrize(
    ("line", "old", "new", "reason"),
    [
        (0, b'"seed":7', b'"seed":"7"', "seed or version"),
        (0, b'"world":"sim"', b'"world":1', "world or scenario"),
        (1, b'"i":0', b'"i":1', '"i" .*0.*1'),
        (1, b'"i":0', b'"j":0', "step, fault, checkpoint or footer"),
        (1, b'"t":0', b'"t":"0"', '"t"'),
        (1, b'"cause":-1', b'"cause":0', '"cause" .*0'),
        (1, b'"n":"n1"', b'"n":1', '"n" .*string'),
        (1, b'"ev":', b'"event":', "None"),
        (1, b'"vc":{', b'"vc":{{', "JSON"),
        (8, b'"at_us":41', b'"at_us":null', '"at_us"'),
        (8, b'"for_us":1000', b'"for_us":1.5', '"for_us"'),
        (8, b'"why":"x"', b'"why":[]', '"why"'),
        (-1, b'"steps":12', b'"steps":11', "footer"),
        (-1, b'"dropped":0', b'"dropped":-1', "-1"),
    ],
)
def test_sealed_invalid_content_is_refused(line: int, old: bytes, new: bytes, reason: str) -> None:
    """Goal: TraceError and no other exception. Method: wrong contents with valid checksums."""
    lines = LINES.copy()
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new, 1)
    with pytest.raises(TraceError, match=reason) as caught:
        decode_trace(sealed_again(lines))
    assert caught.value.line == range(1, len(LINES) + 1)[line]


def test_a_wrong_checkpoint_is_refused() -> None:
    """A checkpoint is checked against the records before it."""
    lines = list(encode_trace(long_trace(1_000)))
    lines[-2] = lines[-2].replace(b'"steps":1000', b'"steps":1001')
    with pytest.raises(TraceError, match="checkpoint"):
        digest_of_file(sealed_again(lines))


def test_the_number_of_dropped_steps_survives() -> None:
    """Goal: an incomplete trace is marked as such. Method: a limit of two, through the file."""
    trace = Trace(limit=2)
    for at in range(5):
        trace.record(at, "n1", 1, TimerFired("a"), [], -1)
    assert decode_trace(encode_trace(trace)).dropped == 3


def test_an_invalid_effect_is_reported_with_its_step() -> None:
    """Goal: a broken node is found. Method: an event among the effects."""
    trace = Trace()
    trace.record(0, "n1", 1, TimerFired("a"), [PeerLost("n2")], -1)  # type: ignore[list-item]
    with pytest.raises(Mismatch, match=r"step 0 of n1, .*PeerLost\(peer='n2'\).*Send"):
        digest_of(trace)


def test_steps_are_numbered_from_zero_and_come_back_in_order() -> None:
    """Goal: recorded steps are read unchanged. Method: three steps, by every access."""
    trace = Trace()
    recorder: Recorder = trace
    events: list[Event] = [TimerFired("a"), TimerFired("b"), TimerFired("c")]
    numbers = [recorder.record(at, "n1", 1, event, [], at - 1) for at, event in enumerate(events)]
    assert numbers == [0, 1, 2]
    assert len(trace) == 3
    assert [step.event for step in trace] == events
    assert [(step.i, step.t_us, step.cause) for step in trace] == [(0, 0, -1), (1, 1, 0), (2, 2, 1)]
    assert trace.step(1).event is events[1]
    for absent in (3, -1):
        with pytest.raises(IndexError):
            trace.step(absent)


def test_faults_stay_between_their_steps() -> None:
    """A fault is placed by the number of steps before it."""
    trace = short_trace()
    assert [fault.kind for fault in trace.faults] == ["slow_link", "crash"]
    assert trace.fault_positions == (7, len(trace))


def test_beyond_the_limit_steps_are_only_counted() -> None:
    """Goal: a trace is bounded. Method: a limit of two; numbers go on, memory does not."""
    trace = Trace(limit=2)
    numbers = [trace.record(at, "n1", 1, TimerFired("a"), [], -1) for at in range(5)]
    assert numbers == [0, 1, 2, 3, 4]
    assert (len(trace), trace.dropped) == (2, 3)
    trace.fault(Fault(9, "crash", "n1"))
    assert trace.faults == ()


def test_defaults_of_a_new_trace() -> None:
    """The defaults that a world gets."""
    trace = Trace()
    assert trace.limit == STEPS_MAX
    assert trace.header == Header("sim", "", 0, "")
    assert list(long_trace(0)) == []
