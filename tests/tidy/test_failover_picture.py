"""The picture of a failover shows the run that the scenario produces now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs.failover_picture import file as picture
from docs.failover_picture.moments import failover, moments, panels

BYTES_MAX = 200_000


def test_the_picture_is_drawn_from_the_present_run() -> None:
    """Goal: README shows what the code does; method: compare the digest in the file."""
    assert not picture.is_stale(), "run `python docs/generate.py`"
    assert picture.PICTURE.stat().st_size < BYTES_MAX


@pytest.mark.long
def test_a_written_picture_is_not_stale(tmp_path: Path) -> None:
    """Goal: one run of the generator is enough; method: write a file, read its digest."""
    path = tmp_path / "images" / "failover.svg"
    picture.write(path)
    assert picture.stored_digest(path) == picture.digest(failover())
    assert ET.parse(path).getroot().tag.endswith("svg")
    assert picture.stored_digest(tmp_path / "none.svg") == ""


def test_other_data_change_the_digest() -> None:
    """Goal: no change of the run is missed; method: shift one leader epoch and one offset."""
    data = failover()
    first = data.brokers[0]
    other = replace(first, leo=[*first.leo[:-1], (data.end_us, 61)])
    changed = replace(data, brokers=[other, *data.brokers[1:]])
    assert picture.digest(changed) != picture.digest(data)
    later = replace(data.leaderships[-1], start_us=data.leaderships[-1].start_us + 1)
    changed = replace(data, leaderships=[*data.leaderships[:-1], later])
    assert picture.digest(changed) != picture.digest(data)


def test_the_moments_are_in_order_and_in_their_panels() -> None:
    """Goal: each label is visible; method: compare the moments with the windows."""
    at = moments(failover())
    first, gap, third, last = (panel.window for panel in panels(at))
    assert first[0] < at.crash < first[1] == gap[0] < gap[1] == third[0] < at.elected < third[1]
    assert last[0] < at.restart < at.truncation < at.rejoined < last[1]
    assert (at.committed, at.flushed, at.written) == (30, 32, 34)
