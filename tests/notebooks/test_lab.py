"""``yak lab`` with a real JupyterLab, read in a real browser; and slides by nbconvert.

``YAK_SCREENSHOTS=FOLDER`` keeps a picture of the page.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests import require
from tests.browser import browser
from tests.notebooks.jupyter_lab import FIGURES, lab, run_all, saved, without_outputs
from tests.notebooks.lessons import FOLDER, SCRIPTS, code_cells, notebook_of
from tests.scenarios.scenario_runs import command

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

LESSON = FOLDER / "01_first_plot.ipynb"

def test_a_student_runs_lesson_1_in_a_browser(tmp_path: Path) -> None:
    """Goal: a plot in the page; method: open the copy without outputs, run all cells, save.

    The copy on disk has the outputs that the project keeps, the original did not change, and Ctrl-C
    ends the server.
    """
    require.executable("chromium")
    copy = tmp_path / "yak-lessons" / LESSON.name
    copy.parent.mkdir()
    copy.write_text(json.dumps(without_outputs(LESSON)), encoding="utf-8")
    original = LESSON.read_bytes()
    cells = len(code_cells(json.loads(original)))

    async def look(info: dict[str, Any]) -> tuple[list[int], dict[str, Any]]:
        async with browser(tmp_path / "profile") as page:
            await run_all(page, info, cells)
            await page.until(f"{FIGURES}.length === 1")
            if folder := os.environ.get("YAK_SCREENSHOTS"):
                await page.screenshot(Path(folder, "lesson-1.png"))
            elsewhere = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
            assert {url.split("/")[2] for url in elsewhere} == {f"localhost:{info['port']}"}
            return await page.value(FIGURES), await saved(copy, cells)

    with lab(tmp_path, "1") as (process, info):
        assert info["root_dir"] == str(copy.parent)
        widths, made = asyncio.run(look(info))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert widths[0] > 1000
    texts = [out.get("text") for cell in code_cells(made) for out in cell["outputs"]]
    kept = [o.get("text") for c in code_cells(notebook_of(SCRIPTS[0])) for o in c["outputs"]]
    assert ["".join(text or "") for text in texts] == ["".join(text or "") for text in kept]
    assert LESSON.read_bytes() == original


def test_a_port_that_is_in_use_is_an_error(tmp_path: Path) -> None:
    """Goal: --port gives this port or none; method: listen on it first."""
    require.module("jupyterlab")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = command(
            "-m", "yak_cli", "lab", "--no-browser", "--port", str(port), folder=tmp_path
        )
    assert done.returncode == 1
    assert str(port) in done.stderr


class Slides(HTMLParser):
    """Counts the sections of a page, and collects the texts of its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections = 0
        self.alts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read one tag."""
        self.sections += tag == "section"
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")


def test_slides_have_the_sections_of_a_lesson(tmp_path: Path) -> None:
    """Goal: one slide per cell, with the figure and its description; method: read the HTML."""
    require.module("jupyterlab")
    done = command("-m", "yak_cli", "lab", "1", "--slides", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "yak-lessons/01_first_plot.slides.html\n")
    notebook = json.loads(LESSON.read_text(encoding="utf-8"))
    texts = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    columns = sum(text.startswith("#") for text in texts)
    page = Slides((tmp_path / done.stdout.strip()).read_text(encoding="utf-8"))
    assert page.sections == columns + len(notebook["cells"])
    assert [len(alt) > 100 for alt in page.alts] == [True]
    assert re.search(r"internet", done.stderr)


def test_slides_of_a_damaged_copy_are_refused(tmp_path: Path) -> None:
    """Goal: a sentence and exit code 2; the copy stays as it is."""
    require.module("jupyterlab")
    copy = tmp_path / "yak-lessons" / LESSON.name
    copy.parent.mkdir()
    copy.write_text("{}", encoding="utf-8")
    done = command("-m", "yak_cli", "lab", "1", "--slides", folder=tmp_path)
    assert done.returncode == 2
    assert copy.name in done.stderr
    assert copy.read_text(encoding="utf-8") == "{}"
