"""Plots: content, determinism and legibility.

Method: made-up traces; the SVG has its text as text, which the tests read.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.colors import to_rgb
from PIL import Image

from tests.sim.plot_samples import Tale, failover
from yak_core.config import MS, SECOND
from yak_core.contract.notes import BecameLeader, HighWatermarkAdvanced, IsrExpanded
from yak_core.errors import Outcome
from yak_core.ids import Epoch
from yak_core.trace.recorder import Trace
from yak_sim.plot.curves import thinned
from yak_sim.plot.data import Points
from yak_sim.plot.kinds import describe
from yak_sim.plot.rendering import Rendered
from yak_sim.plot.style import COLOURS, ON_COLOURS
from yak_sim.plot.watermarks import plot_watermarks, render_watermarks

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[2]


@cache
def failover_rendered() -> Rendered:
    """Render the made-up failover once."""
    return render_watermarks(failover())


def texts_of(svg: bytes) -> list[str]:
    """Return every text of an SVG file."""
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def small(records: int = 1, brokers: int = 3) -> Trace:
    """Return a trace of two seconds without faults."""
    tale = Tale(brokers, "small")
    for node in tale.nodes:
        tale.start(0, node)
    tale.note(10 * MS, "n1", BecameLeader(Epoch(1), 0), IsrExpanded(tale.nodes, tale.nodes, 1))
    for node in tale.nodes if records else ():
        tale.append(500 * MS, node, 0, records, Epoch(1))
        tale.note(510 * MS, node, HighWatermarkAdvanced(records))
    tale.note(2 * SECOND, "n1")
    return tale.trace()


def test_the_plot_of_a_failover_has_leaders_and_faults() -> None:
    """Method: the texts in the plot."""
    words = texts_of(failover_rendered().svg)
    for expected in (
        "leader_failover, seed 7",
        "epoch 1: n1 leads",
        "no leader",
        "epoch 2: n3 leads",
        "leads epoch 2",
        "n1 crashes, LEO 93",
        "n1 truncates 92 → 88",
        "slow link n1→n2,n3",
        "down",
        "high watermark (HW)",
        "log end offset (LEO)",
        "acks",
        "faults",
        "time (s)",
        "offset",
        "close-up",
    ):
        assert expected in words
    assert {"n1", "n2", "n3"} <= set(words)


def test_the_description_has_the_numbers() -> None:
    """Goal: an alternative text for the plot. Method: the numbers of the made-up run."""
    words = describe(failover())
    for expected in (
        "3 brokers (n1, n2, n3) over 8.007 s.",
        "Final log end offset of n1: 221, high watermark: 221.",
        "Leaders: n1 in epoch 1 from 0.03 s to 2 s; n3 in epoch 2 from 5.3 s to 8.007 s.",
        "Log truncations: n1 from 92 to 88 at 6.06 s.",
        "{n2, n3} from 5.3 s",
        "Acknowledged: 221 records in 221 batches. Failed or unknown: 0 batches.",
        "Faults: slow link n1→n2,n3 at 1.9 s for 0.1 s; n1 crashes at 2 s for 4 s.",
    ):
        assert expected in words
    assert describe(Trace()).endswith("the trace has no broker.")


def test_both_files_carry_title_and_description() -> None:
    """Goal: alternative text in the files. Method: read the metadata for screen readers."""
    rendered = failover_rendered()
    words = describe(failover())
    root = ET.fromstring(rendered.svg)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "yak-title yak-desc"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert [child.text for child in root][:2] == ["leader_failover, seed 7", words]
    assert len(list(root.iter(f"{SVG}title"))) == 1
    families = {
        text.get("style", "").partition("font-family: ")[2] for text in root.iter(f"{SVG}text")
    }
    assert all(family.startswith("'DejaVu Sans', Verdana, sans-serif") for family in families)
    image = Image.open(BytesIO(rendered.png))
    assert image.info["Description"] == rendered.description == words
    assert image.info["Title"] == "leader_failover, seed 7"
    assert image.size[0] == 1920


@pytest.mark.long
def test_another_process_draws_the_same_bytes_without_pyplot() -> None:
    """Goal: plots can be compared, and do not change the settings of a notebook.

    Method: another process with another hash seed and unusual settings of matplotlib.
    """
    code = (
        "import hashlib, sys, yak_sim.plot.watermarks\n"
        "assert not any(name.startswith('matplotlib') for name in sys.modules)\n"
        "import matplotlib\n"
        "matplotlib.rcParams.update({'lines.linewidth': 9, 'font.size': 30})\n"
        "from tests.sim.plot_samples import failover\n"
        "r = yak_sim.plot.watermarks.render_watermarks(failover())\n"
        "print(hashlib.sha256(r.png + r.svg).hexdigest(), matplotlib.rcParams['font.size'])\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    mine = failover_rendered()
    digest = sha256(mine.png + mine.svg).hexdigest()
    assert done.stdout.split() == [digest, "30.0", "False"]


def test_jupyter_shows_the_figure() -> None:
    """Goal: a cell shows the plot and its description. Method: IPython's formatter."""
    formatter: Any = DisplayFormatter()
    figure = plot_watermarks(small())
    data, metadata = formatter.format(figure)
    assert data["image/png"][:4] == b"\x89PNG"
    assert "small" not in data["text/plain"]
    assert metadata["image/png"] == {"alt": describe(small())}
    assert [axes.get_ylabel() for axes in figure.axes] == ["offset", ""]


@pytest.mark.parametrize(("records", "brokers"), [(0, 1), (1, 9), (2, 3), (100_000, 3)])
def test_any_size_can_be_drawn(records: int, brokers: int) -> None:
    """Method: from 0 to 100,000 records, 1 to 9 brokers."""
    figure = plot_watermarks(small(records, brokers))
    low, high = figure.axes[0].get_ylim()
    assert low < 0
    assert high > max(records, 1)
    assert figure.axes[0].get_xlim() == (0, 2)
    labels = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
    assert labels == [*(f"n{number}" for number in range(1, brokers + 1)), "acks"]


def test_an_empty_trace_can_be_drawn() -> None:
    """Goal: a run that ended at once has a plot too."""
    words = texts_of(render_watermarks(Trace()).svg)
    assert "no broker in this trace" in words
    assert "The trace has no broker." in words


def test_a_window_shows_a_part() -> None:
    """Method: the second around the crash."""
    figure = plot_watermarks(failover(), from_us=1_500 * MS, to_us=2_500 * MS, title="the crash")
    assert figure.axes[0].get_xlim() == (1.5, 2.5)
    low, high = figure.axes[0].get_ylim()
    assert 50 < low < high < 110
    assert "the crash" in [text.get_text() for text in figure.texts]
    with pytest.raises(ValueError, match="end"):
        plot_watermarks(failover(), from_us=5, to_us=5)


def test_lines_that_coincide_are_drawn_apart() -> None:
    """Goal: equal curves are visible. Method: the positions of their pixels."""
    figure = plot_watermarks(small(10))
    axes = figure.axes[0]
    solid = [line for line in axes.get_lines() if line.get_linestyle() == "-"][-3:]
    heights = [line.get_transform().transform((1.0, 10.0))[1] for line in solid]
    apart = [first - second for first, second in pairwise(heights)]
    points = 72 / figure.dpi
    assert all(1.5 <= pixels * points <= 3 for pixels in apart)
    assert len({line.get_color() for line in solid}) == 3
    markers = {line.get_marker() for line in axes.get_lines()} - {"None", ""}
    assert len(markers) == 3


def test_a_small_tail_is_shown_closer_and_a_large_one_is_not() -> None:
    """Goal: the lost tail is visible. Method: the height of the detail plot."""
    assert len(plot_watermarks(failover()).axes) == 3
    tale = Tale(1)
    tale.start(0, "n1")
    tale.append(10, "n1", 0, 10, Epoch(1))
    tale.truncate(20, "n1", 5)
    assert len(plot_watermarks(tale.trace()).axes) == 2


@pytest.mark.long
def test_a_long_run_stays_small() -> None:
    """Method: the size of the SVG of 100,000 records."""
    trace = failover(per_second=1_000, batch_count=25)
    rendered = render_watermarks(trace)
    assert "110,025 records acknowledged" in " ".join(texts_of(rendered.svg))
    assert len(rendered.svg) < 1_000_000
    assert len(rendered.png) < 400_000


def test_thinning_keeps_the_first_lowest_highest_and_last() -> None:
    """Goal: no peak and no gap is lost. Method: many points in few columns."""
    points: Points = [(at, at % 100) for at in range(1_000)]
    points[555] = (555, -7)
    points[556] = (556, None)
    points[557] = (557, 900)
    kept = thinned(points, (0, 1_000), columns=10)
    assert len(kept) <= 5 * 10
    assert kept[0] == (0, 0)
    assert kept[-2:] == [(999, 99), (1_000, 99)]
    assert {(555, -7), (556, None), (557, 900)} <= set(kept)
    assert kept == sorted(kept, key=lambda point: point[0])
    assert thinned(points, (300, 400))[0] == (300, 0)
    assert thinned(points, (300, 400))[-1][0] == 400
    assert thinned([(0, 7)], (300, 400)) == [(300, 7), (400, 7)]
    assert thinned([], (0, 10)) == [(0, None), (10, None)]


def test_many_faults_share_the_rows() -> None:
    """Goal: a run with many faults stays readable. Method: forty faults at one time."""
    tale = Tale(3, "storm")
    for node in tale.nodes:
        tale.start(0, node)
    for number in range(40):
        tale.fault(number * 10 * MS, "slow_link", "n1>n2", SECOND)
    tale.ack(10, 500 * MS, -1, 1, Outcome.UNKNOWN)
    tale.note(2 * SECOND, "n1")
    figure = plot_watermarks(tale.trace())
    labels = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
    assert labels == ["n1", "n2", "n3", "acks", "faults", "", "", "", "more"]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "not acked" in legends


def test_texts_on_bars_can_be_read() -> None:
    """Goal: enough contrast. Method: WCAG's formula for each colour and the text on it."""

    def luminance(colour: str) -> float:
        parts = [
            part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
            for part in to_rgb(colour)
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for ground, text in zip(COLOURS, ON_COLOURS, strict=True):
        low, high = sorted([luminance(ground), luminance(text)])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ground, text)
