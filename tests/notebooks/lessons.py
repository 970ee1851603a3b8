"""What the tests of the lessons share: scripts, notebooks, and a lesson run as a program."""

from __future__ import annotations

import io
import json
import runpy
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tests.tidy.tree import ROOT

FOLDER = ROOT / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
SECONDS_MAX = 45
"""A lesson computes no longer than this."""


def notebook_of(script: Path) -> dict[str, Any]:
    """The notebook beside a script."""
    found: dict[str, Any] = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return found


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """What the cells gave, in order."""
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def printed(notebook: dict[str, Any]) -> str:
    """What the cells printed."""
    streams = [o for o in outputs(notebook) if o["output_type"] == "stream"]
    return "".join("".join(stream["text"]) for stream in streams)


def played(script: Path, changes: dict[str, str], folder: Path) -> tuple[dict[str, Any], str]:
    """Run a lesson as a student who made ``changes`` to it: its names, and what it printed."""
    text = script.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {script.name}"
        text = text.replace(old, new)
    changed = folder / script.name
    changed.write_text(text, encoding="utf-8")
    out = io.StringIO()
    with redirect_stdout(out):
        names = runpy.run_path(str(changed))
    return names, out.getvalue()
