"""Plots by kind: the values drawn, extents, time spans, alt text, equal bytes, the command.

Method: made-up traces whose values are known; values are read back from the axes.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.text import Annotation

from tests.sim.plot_samples import TICK, Tale, failover
from yak_core.config import MS, SECOND
from yak_core.contract.effects import Exit
from yak_core.contract.notes import BecameLeader, HighWatermarkAdvanced, IsrExpanded
from yak_core.ids import Epoch
from yak_core.trace.reader import encode_trace
from yak_core.trace.recorder import Trace
from yak_sim.cli_plot import plot_command
from yak_sim.plot.data import plot_data_of
from yak_sim.plot.distribution import plot_distribution
from yak_sim.plot.kinds import KINDS, describe
from yak_sim.plot.simple import plot_ack_latency, plot_isr, plot_lag, plot_throughput
from yak_sim.plot.watermarks import plot_watermarks
from yak_sim.plot.windows import action_of

DESC = "{http://www.w3.org/2000/svg}desc"


def drawn(figure: Figure, label: str) -> list[tuple[float, float]]:
    """Return the points of the curve with this label."""
    line = next(line for line in figure.axes[0].get_lines() if line.get_label() == label)
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def stops() -> Trace:
    """Return a trace of 60 s: n1 leads; n2 is stopped at 20 s, has exited at 21 s, is back at 24 s.

    n3 is paused from 30 s to 31 s.
    """
    tale = Tale(3, "stops")
    for node in tale.nodes:
        tale.start(0, node)
    tale.note(10 * MS, "n1", BecameLeader(Epoch(1), 0), IsrExpanded(tale.nodes, tale.nodes, 1))
    for node in tale.nodes:
        tale.append(SECOND, node, 0, 10, Epoch(1))
    tale.ack(900 * MS, SECOND, 0, 10)
    tale.fault(20 * SECOND, "stop", "n2", 3 * SECOND)
    tale.step(21 * SECOND, "n2", TICK, Exit(True))
    tale.append(22 * SECOND, "n1", 10, 7, Epoch(1))
    tale.start(24 * SECOND, "n2", 10, 10)
    tale.append(25 * SECOND, "n2", 10, 7, Epoch(1))
    tale.fault(30 * SECOND, "pause", "n3", SECOND)
    tale.note(60 * SECOND, "n1", HighWatermarkAdvanced(17))
    return tale.trace()


def test_a_stop_lasts_while_the_process_is_down() -> None:
    """Goal: true extents. Method: a request at 20 s, an exit at 21 s, a start at 24 s."""
    faults = {fault.kind: fault for fault in plot_data_of(stops()).faults}
    assert (faults["stop"].start_us, faults["stop"].end_us) == (21 * SECOND, 24 * SECOND)
    assert (faults["pause"].start_us, faults["pause"].end_us) == (30 * SECOND, 31 * SECOND)
    rows = plot_watermarks(stops(), from_us=0).axes[-1]
    bars = [
        (float(bar.get_x()), float(bar.get_x() + bar.get_width()))
        for bar in rows.patches
        if isinstance(bar, Rectangle)
    ]
    assert (21.0, 24.0) in bars
    assert (30.0, 31.0) in bars


def test_a_crash_lasts_until_the_next_start() -> None:
    """Method: the made-up failover plans 4 s; its broker starts at the end of them."""
    crash = next(f for f in plot_data_of(failover()).faults if f.kind == "crash")
    start = plot_data_of(failover()).brokers[0].up[1].start_us
    assert (crash.start_us, crash.end_us) == (2 * SECOND, start)


def test_the_plot_shows_the_action_and_on_request_the_whole_run() -> None:
    """Goal: a close-up in time. Method: 11 s of action in 60 s."""
    assert action_of(plot_data_of(stops())) == (21 * SECOND, 31 * SECOND)
    left, right = plot_watermarks(stops()).axes[0].get_xlim()
    assert 19 < left < 21
    assert 31 < right < 34
    assert " Shown: 19.8 s to 32.2 s of 60 s." in describe(stops())
    assert plot_watermarks(stops(), from_us=0).axes[0].get_xlim() == (0, 60)
    assert plot_isr(stops(), from_us=2 * SECOND, to_us=99 * SECOND).axes[0].get_xlim() == (2, 60)
    for span in ({"from_us": 61 * SECOND}, {"from_us": 5, "to_us": 5}, {"to_us": 0}):
        with pytest.raises(ValueError, match="60000000 us"):
            plot_lag(stops(), **span)  # type: ignore[arg-type]


def crowded(*gaps: int) -> Trace:
    """Return 10 s with a crash of n1 at 2 s, after a stalled disk and a slow link."""
    tale = Tale(3)
    for node in tale.nodes:
        tale.start(0, node)
        tale.append(SECOND, node, 0, 9, Epoch(1))
    tale.note(SECOND // 2, "n1", BecameLeader(Epoch(1), 0))
    for kind, gap in zip(("slow_link", "stall_disk"), gaps, strict=False):
        tale.fault(2 * SECOND - gap, kind, "n1", gap)
    tale.append(2 * SECOND - 15 * MS, "n1", 9, 1, Epoch(1))
    tale.append(2 * SECOND - 10 * MS, "n1", 10, 1, Epoch(1))
    tale.fault(2 * SECOND, "crash", "n1")
    tale.note(10 * SECOND, "n2", HighWatermarkAdvanced(9))
    return tale.trace()


def test_a_crowded_moment_is_enlarged() -> None:
    """Goal: what happens within 40 ms of 10 s can be read.

    Method: the axes and the captions of a panel of its own, in each kind that changes in it.
    """
    trace = crowded(40 * MS, 20 * MS)
    panel = plot_watermarks(trace, from_us=0).axes[-2]
    left, right = panel.get_xlim()
    assert (left, right) == pytest.approx((1.936, 2.024))
    low, high = panel.get_ylim()
    assert low < 9 < 11 < high
    captions = {text.get_text() for text in panel.texts}
    assert {"slow link n1", "disk of n1 stalls", "n1 crashes, LEO 11"} <= captions
    assert "Close-up in time: 1.936 s to 2.024 s." in describe(trace)
    lag = plot_lag(trace, from_us=0)
    assert lag.axes[1].get_xlim() == (left, right)
    assert {y for _, y in drawn(lag, "n2")} >= {0, 1, 2}
    for plot in (plot_isr, plot_ack_latency, plot_throughput):
        assert len(plot(trace, from_us=0).axes) == 1, "nothing changes in the moment"


@pytest.mark.long
@pytest.mark.parametrize("gaps", [(), (40 * MS,), (400 * MS, 200 * MS), (900, 400)])
def test_a_moment_that_is_not_crowded_has_no_panel(gaps: tuple[int, ...]) -> None:
    """Method: one time, two times, three that can be told apart, three within a millisecond."""
    trace = crowded(*gaps)
    assert "Close-up in time" not in describe(trace)
    assert len(plot_lag(trace, from_us=0).axes) == 1


@pytest.mark.long
def test_the_last_bin_of_a_throughput_ends_with_the_window() -> None:
    """Goal: a steady rate is drawn as such to the end, whatever the length of the window."""
    tale = Tale(1)
    for at in range(2_000):
        tale.ack(at * MS, at * MS, at, 1)
    trace = tale.trace()
    for end_us in range(1_000 * MS, 1_700 * MS, 77 * MS):
        patches = plot_throughput(trace, from_us=0, to_us=end_us).axes[0].patches
        values, edges, _ = next(p for p in patches if isinstance(p, StepPatch)).get_data()
        assert edges[-1] == pytest.approx(end_us / SECOND)
        assert values[-1] == pytest.approx(1_000, abs=300)
        assert 0.5 <= (edges[-1] - edges[-2]) / (edges[1] - edges[0]) <= 1.5


def test_the_values_of_each_kind_are_drawn() -> None:
    """Method: values of the made-up runs, read back from the axes."""
    assert {y for _, y in drawn(plot_isr(stops(), from_us=0), "size of the ISR")} == {3}
    assert {y for _, y in drawn(plot_isr(stops(), from_us=0), "min ISR")} == {2}
    assert drawn(plot_ack_latency(stops(), from_us=0), "acknowledged") == [(1.0, 100.0)]
    lag = drawn(plot_lag(stops(), from_us=0), "n2")
    assert (24.0, 7.0) in lag
    assert (25.0, 0.0) in lag
    patches = plot_throughput(stops(), from_us=0).axes[0].patches
    steps = next(patch for patch in patches if isinstance(patch, StepPatch))
    values, edges, _ = steps.get_data()
    assert sum(values) * (edges[1] - edges[0]) == pytest.approx(10)
    assert values[2] == pytest.approx(10 / 0.5)


def test_a_shift_never_changes_the_order_of_the_curves() -> None:
    """Goal: no curve looks higher than one with a larger value.

    Method: 10 and 5,000 records; the heights of neighbouring offsets on the first and last curve.
    """
    for records, text in ((10, "slightly apart"), (5_000, "inside each other")):
        tale = Tale(3)
        for node in tale.nodes:
            tale.start(0, node)
            tale.append(SECOND, node, 0, records, Epoch(1))
        tale.note(2 * SECOND, "n1")
        figure = plot_watermarks(tale.trace())
        axes = figure.axes[0]
        solid = [line for line in axes.get_lines() if line.get_linestyle() == "-"][-3:]
        first, last = (solid[at].get_transform() for at in (0, -1))
        assert last.transform((1, records))[1] > first.transform((1, records - 1))[1]
        assert any(text in words.get_text() for words in figure.texts)
        widths = [line.get_linewidth() for line in solid]
        assert (widths[0] > widths[1] > widths[2]) == (records == 5_000)


def test_a_short_time_without_a_leader_has_a_label_and_a_line() -> None:
    """Method: 100 ms without a leader in a run of 20 s."""
    tale = Tale(1)
    tale.start(0, "n1")
    tale.note(0, "n1", BecameLeader(Epoch(1), 0))
    tale.fault(10 * SECOND, "crash", "n1", 50 * MS)
    tale.start(10_050 * MS, "n1")
    tale.note(10_100 * MS, "n1", BecameLeader(Epoch(2), 0))
    tale.note(20 * SECOND, "n1")
    texts = plot_watermarks(tale.trace(), from_us=0).axes[0].texts
    label = next(text for text in texts if text.get_text() == "no leader for 0.1 s")
    assert isinstance(label, Annotation)
    assert label.xy[0] == pytest.approx(10.05)
    assert label.arrow_patch is not None


@pytest.mark.parametrize("pause", [(2, 12), (8, 18)])
def test_the_labels_of_a_paused_leader_are_apart(pause: tuple[int, int]) -> None:
    """Method: a leader that pauses early, or late; its epoch is named in the longer rest."""
    tale = Tale(1)
    tale.start(0, "n1")
    tale.note(0, "n1", BecameLeader(Epoch(1), 0))
    tale.fault(pause[0] * SECOND, "pause", "n1", (pause[1] - pause[0]) * SECOND)
    tale.note(20 * SECOND, "n1")
    rows = plot_watermarks(tale.trace(), from_us=0).axes[-1]
    at = {text.get_text(): text.get_position()[0] for text in rows.texts}
    assert at["paused"] == pytest.approx(sum(pause) / 2)
    expected = (pause[1] + 20) / 2 if pause[0] == 2 else pause[0] / 2
    assert at["leads epoch 1"] == pytest.approx(expected)


def test_the_distribution_has_each_run() -> None:
    """Method: two groups; the shares of the runs; empty groups are refused."""
    figure = plot_distribution({"min_isr=1": [3, 1, 2], "min_isr=2": [5]}, label="lost records")
    assert drawn(figure, "min_isr=1")[1:] == [(1, 1 / 3), (2, 2 / 3), (3, 1)]
    assert figure.axes[0].get_xlabel() == "lost records"
    assert vars(figure)["yak_description"] == (
        "Distribution of lost records over 4 runs. min_isr=1: median 2, 1 to 3; "
        "min_isr=2: median 5, 5 to 5."
    )
    marked = plot_distribution([700.0, 1300.0], label="window", marks={"shortest": 650})
    assert drawn(marked, "runs")[1:] == [(700, 0.5), (1300, 1)]
    [line] = [each for each in marked.axes[0].lines if each.get_linestyle() == "--"]
    assert [float(x) for x, _ in np.asarray(line.get_xydata())] == [650, 650]
    assert vars(marked)["yak_description"].endswith(" A dashed line at 650: shortest.")
    nothing: list[list[float] | dict[str, list[float]]] = [[], {}, {"a": [1.0], "b": []}]
    for values in nothing:
        with pytest.raises(ValueError, match="at least one value"):
            plot_distribution(values)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "lag" else pytest.mark.long) for kind in KINDS],
)
def test_each_kind_has_alt_text_and_the_same_bytes(kind: str) -> None:
    """Method: draw twice; read title and description of the SVG; an empty trace can be drawn."""
    first, second = (KINDS[kind](failover()).rendered() for _ in range(2))
    assert (first.png, first.svg) == (second.png, second.svg)
    root = ET.fromstring(first.svg)
    desc = root.find(DESC)
    assert desc is not None
    assert desc.text == first.description == describe(failover(), kind)
    assert "n1 crashes at 2 s" in first.description
    assert KINDS[kind](Trace()).description
    with pytest.raises(ValueError, match=f"pie.*{kind}"):
        describe(failover(), "pie")


def test_the_command_writes_a_plot(tmp_path: Path) -> None:
    """Method: each format; a folder; the printed description."""
    trace = tmp_path / "trace.jsonl"
    trace.write_bytes(b"".join(encode_trace(failover())))
    run = CliRunner()
    done = run.invoke(plot_command, [str(tmp_path), "--kind", "isr", "--from", "1.5s", "--to", "3"])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"wrote {tmp_path / 'isr.svg'}")
    assert "Shown: 1.5 s to 3 s of" in done.stdout
    png = tmp_path / "lag.png"
    assert run.invoke(plot_command, [str(trace), "--kind", "lag", "--out", str(png)]).exit_code == 0
    assert png.read_bytes()[:4] == b"\x89PNG"
    for number, lost in enumerate((3, 5)):
        folder = tmp_path / str(number)
        folder.mkdir()
        verdict: dict[str, object] = {"schema": 2, "scenario": "x", "seed": number, "valid": True}
        verdict |= {"digest": "", "violations": [], "goals": {}, "figures": {"lost": lost}}
        (folder / "verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    many = [str(tmp_path / "0"), str(tmp_path / "1"), "--kind", "distribution"]
    out = ["--out", str(tmp_path / "d.svg")]
    done = run.invoke(plot_command, [*many, "--figure", "lost", *out])
    assert (done.exit_code, "median 3, 3 to 5" in done.stdout) == (0, True)
    assert run.invoke(plot_command, [*many, *out]).exit_code == 2
    assert run.invoke(plot_command, [*many, "--figure", "won", *out]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing"], 2),
        (["trace.jsonl", "--from", "2 parsecs"], 2),
        (["trace.jsonl", "--from", "5s", "--to", "2s"], 2),
        (["trace.jsonl", "--from", "99s"], 2),
        (["trace.jsonl", "--out", "x.gif"], 2),
        (["trace.jsonl", "--out", "missing/x.png"], 2),
        (["trace.jsonl", "trace.jsonl"], 2),
        (["trace.jsonl", "--figure", "hw"], 2),
        (["trace.jsonl", "--kind", "distribution", "--figure", "hw", "--to", "2s"], 2),
        (["damaged.jsonl"], 1),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: one mistake per case; the exit code, and the files afterwards."""
    monkeypatch.chdir(tmp_path)
    lines = b"".join(encode_trace(failover(per_second=1)))
    Path("trace.jsonl").write_bytes(lines)
    Path("damaged.jsonl").write_bytes(lines.replace(b"n1", b"n9", 1))
    before = sorted(tmp_path.iterdir())
    done = CliRunner().invoke(plot_command, arguments)
    assert done.exit_code == code, done.output
    assert done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.long
def test_texts_of_a_distribution_stay_in_the_figure() -> None:
    """Goal: long names and many groups can be read; method: the extents of headline and legend."""
    for count in (1, 3, 7):
        names = [f"brokers=3, min_isr={k}, records=100" for k in range(count)]
        groups = {name: [k + 0.12345, 2e5 + k] for k, name in enumerate(names)}
        figure = plot_distribution(groups, label="ms_without_leader")
        figure.canvas.draw()
        width = figure.bbox.width
        parts = [*figure.texts, *figure.legends]
        extents = [part.get_window_extent() for part in parts]
        assert all(0 <= box.x0 < box.x1 <= width for box in extents)
        assert all(box.y0 >= figure.axes[0].bbox.y1 for box in extents)
        assert all(box.y1 <= figure.bbox.height for box in extents)
