"""Old frames stay readable, and docs/formats.md says what is in new ones.

The sample, one frame a line in hexadecimal, is never changed: brokers of two versions have to
understand each other while a cluster is upgraded. A new version of a frame gets a new file.
"""

from __future__ import annotations

from pathlib import Path

from tests.core.codec_values import SAMPLES
from yak_core.wire.codec import decode, encode
from yak_core.wire.layouts import LAYOUTS

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "tests" / "golden_formats" / "frames_1.txt").read_text("ascii").splitlines()
PAGE = (ROOT / "docs" / "formats.md").read_text("utf-8")


def test_version_1_is_read() -> None:
    """Goal: yesterday's brokers are understood tomorrow. Method: the messages of the sample."""
    frames = [bytes.fromhex(line.partition(" ")[2]) for line in LINES]
    assert [decode(frame) for frame in frames] == list(SAMPLES)
    assert {frame[1] for frame in frames} == {1}


def test_what_is_written_today_is_still_version_1() -> None:
    """Goal: a change of a frame is noticed. Method: today's bytes of the same messages."""
    today = [f"{type(message).__name__} {encode(message).hex()}" for message in SAMPLES]
    assert today == LINES, "a frame has changed: is it still version 1?"


def test_the_page_has_every_frame() -> None:
    """Goal: the page is true. Method: its rows against the layouts."""
    section = PAGE.partition("\n## Wire frames\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line[:3] != "| t" and " | `" in line]
    assert [row for row in rows if row[2].isdigit()] == [
        f"| {layout.tag} | `{layout.cls.__name__}` | "
        + ", ".join(
            f"`{name}` {kind.word}" for name, kind in zip(layout.names, layout.kinds, strict=True)
        )
        + " |"
        for layout in LAYOUTS
    ]
