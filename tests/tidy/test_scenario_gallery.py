"""The gallery of scenarios has a source, a claim and a present picture for each scenario.

tests/tidy/test_docs.py compares its text with the runs; here the pictures are compared with the
text, so that no test needs the runs twice.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs.tables import gallery
from tests.tidy.tree import ROOT

PAGE = (ROOT / "docs" / "scenario-gallery.md").read_text(encoding="utf-8")
RUNS = gallery.run_digests(PAGE)
BYTES_MAX = 120_000


def test_each_scenario_is_in_the_gallery() -> None:
    """Method: the digests in the page, by scenario."""
    assert list(RUNS) == gallery.names()
    assert all(len(digest) == 32 for digest in RUNS.values())
    assert PAGE.count("proved: ") >= 4 * len(RUNS)


def test_each_scenario_names_its_source() -> None:
    """Goal: a reader can check the facts. Method: the docstring of each script."""
    for name in gallery.names():
        text = inspect.getdoc(importlib.import_module(f"scenarios.{name}")) or ""
        assert "Source: " in text, name


def test_the_pictures_are_drawn_from_the_present_runs() -> None:
    """Goal: no picture shows another run. Method: the digest in each file."""
    assert gallery.stale_pictures(RUNS) == [], "run `python docs/generate.py`"


@pytest.mark.parametrize("name", gallery.names())
def test_each_picture_is_small_and_described(name: str) -> None:
    """Goal: a page that loads, for readers who do not see it, too. Method: parse the file."""
    path = gallery.FOLDER / f"{name}.svg"
    assert path.stat().st_size < BYTES_MAX
    description = ET.parse(path).getroot().findtext("{http://www.w3.org/2000/svg}desc")
    assert description is not None
    assert f"![{description}](images/scenarios/{name}.svg)" in PAGE


def test_a_stale_picture_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: another run, a file without a scenario, a folder without files."""
    name = gallery.names()[0]
    assert gallery.stale_pictures({**RUNS, name: "0" * 32}) == [gallery.FOLDER / f"{name}.svg"]
    without = {key: digest for key, digest in RUNS.items() if key != name}
    assert gallery.stale_pictures(without) == [gallery.FOLDER / f"{name}.svg"]
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    assert len(gallery.stale_pictures(RUNS)) == len(RUNS)


@pytest.mark.long
def test_a_written_picture_is_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: one run of the generator is enough. Method: write a file; remove another."""
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    name = "acks_compared"
    gallery.write_picture(tmp_path / f"{name}.svg")
    other = tmp_path / "other.svg"
    other.write_text("<svg/>", encoding="utf-8")
    assert gallery.stale_pictures({name: RUNS[name]}) == [other]
    gallery.write_picture(other)
    assert not other.exists()
