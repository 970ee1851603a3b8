"""Shared by the tests of the lessons: scripts, notebooks, and a lesson run as a program."""

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
"""Limit of a lesson's CPU time."""


def notebook_of(script: Path) -> dict[str, Any]:
    """Return the notebook of a script."""
    found: dict[str, Any] = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return found


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the code cells."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs of the cells, in order."""
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def printed(notebook: dict[str, Any]) -> str:
    """Return the printed text of the cells."""
    streams = [o for o in outputs(notebook) if o["output_type"] == "stream"]
    return "".join("".join(stream["text"]) for stream in streams)


def played(script: Path, changes: dict[str, str], folder: Path) -> tuple[dict[str, Any], str]:
    """Run a lesson with a student's ``changes``; return its names and its printed text."""
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
