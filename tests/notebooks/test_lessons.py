"""Each lesson: script and notebook agree, both run, and the lesson is small."""

from __future__ import annotations

import base64
import importlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from notebooks import build
from tests import require
from tests.notebooks.lessons import (
    FOLDER,
    SCRIPTS,
    SECONDS_MAX,
    code_cells,
    notebook_of,
    outputs,
    printed,
)
from tests.scenarios.scenario_runs import command

CODE_CELLS_MAX = 15
each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.stem))
IN_COMMIT_TIER = ("01_first_plot",)
each_run = pytest.mark.parametrize(
    "script",
    [
        pytest.param(s, id=s.stem, marks=() if s.stem in IN_COMMIT_TIER else pytest.mark.long)
        for s in SCRIPTS
    ],
)


def jupyter() -> None:
    """Require the packages that run a notebook."""
    for name in ("jupytext", "nbclient", "ipykernel"):
        require.module("jupyter", name)


def test_there_are_lessons() -> None:
    """The tests below have lessons. Method: find the first one."""
    assert "01_first_plot" in [script.stem for script in SCRIPTS]
    assert [path.stem for path in build.lessons()] == [script.stem for script in SCRIPTS]


@each
def test_the_notebook_is_made_from_the_script(script: Path) -> None:
    """Neither is edited alone. Method: compare cell by cell, as jupytext reads it."""
    jupyter()
    import jupytext

    source = [(cell.cell_type, cell.source) for cell in jupytext.read(script).cells]
    kept = [(c["cell_type"], "".join(c["source"])) for c in notebook_of(script)["cells"]]
    assert kept == source


@each
def test_the_notebook_is_well_formed(script: Path) -> None:
    """Method: nbformat's own validation."""
    require.module("jupyter", "nbformat")
    nbformat: Any = importlib.import_module("nbformat")
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert nbformat.validator.isvalid(notebook)


@each
def test_the_notebook_shows_its_outputs(script: Path) -> None:
    """The notebook has outputs without errors. Method: check the outputs."""
    notebook = notebook_of(script)
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [output["output_type"] for output in outputs(notebook)]
    assert kinds
    assert "error" not in kinds
    assert "stderr" not in [output.get("name") for output in outputs(notebook)]


@each
def test_the_notebook_has_no_volatile_fields(script: Path) -> None:
    """A second build gives no difference. Method: numbered ids, no times, no versions."""
    notebook = notebook_of(script)
    cells = notebook["cells"]
    assert [cell["id"] for cell in cells] == [f"cell-{i:02d}" for i in range(len(cells))]
    assert all(cell["metadata"] == {} for cell in cells)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert "version" not in notebook["metadata"]["language_info"]


@each
def test_a_lesson_is_small(script: Path) -> None:
    """At most 15 code cells; one or two figures with a description. Method: count them."""
    notebook = notebook_of(script)
    assert len(code_cells(notebook)) <= CODE_CELLS_MAX
    pictures = [o for o in outputs(notebook) if "image/png" in o.get("data", {})]
    assert len(pictures) in (1, 2)
    for picture in pictures:
        assert len(picture["metadata"]["image/png"]["alt"]) > 100
        png = base64.b64decode("".join(picture["data"]["image/png"]))
        assert png.startswith(b"\x89PNG")
    words = "".join("".join(cell["source"]) for cell in notebook["cells"]).lower()
    for part in ("predict", "run", "explain", "modify", "exercise", "stretch", "kafka differs"):
        assert f"## {part}" in words or f" {part}" in words


@each_run
def test_a_lesson_runs_as_plain_python(script: Path, tmp_path: Path) -> None:
    """Neither Jupyter nor 45 s are needed. Method: run it, compare with the printed cells."""
    before = os.times()
    done = command(script, folder=tmp_path)
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed(notebook_of(script))
    assert [path.name for path in tmp_path.iterdir() if path.name != ".hypothesis"] == []
    computed = after.children_user + after.children_system
    assert computed - before.children_user - before.children_system < SECONDS_MAX


@pytest.mark.long
@each
def test_a_lesson_runs_in_a_jupyter_kernel(script: Path) -> None:
    """The notebook is up to date. Method: build it, compare all but the pixels."""
    jupyter()
    done = command(FOLDER / "build.py", "--check", script, folder=FOLDER)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout.startswith(f"{script.stem}.ipynb: ")


@pytest.mark.long
@pytest.mark.timeout(300)
@each
def test_two_builds_give_the_same_bytes(script: Path, tmp_path: Path) -> None:
    """The build is deterministic, pixels included. Method: build twice."""
    jupyter()
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        command(FOLDER / "build.py", "--out", tmp_path / name, script, folder=FOLDER)
        made.append((tmp_path / name / f"{script.stem}.ipynb").read_bytes())
    assert made[0] == made[1]


def sample() -> dict[str, Any]:
    """Return a small notebook with a printed line and an image."""
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x07pixels"
    picture = {"output_type": "display_data", "data": {"image/png": base64.b64encode(png).decode()}}
    text = {"output_type": "stream", "name": "stdout", "text": ["a\n"]}
    cell = {"cell_type": "code", "source": ["f()"], "outputs": [text, picture]}
    return {"cells": [cell], "metadata": {}}


def test_the_comparison_reports_changes() -> None:
    """The check can fail. Method: compare a notebook with copies with one change each."""
    old = sample()
    assert build.differences(old, sample()) == []
    for key, value in (("source", ["g()"]), ("outputs", []), ("cell_type", "raw")):
        changed = sample()
        changed["cells"][0][key] = value
        [difference] = build.differences(old, changed)
        assert re.search(rf"\b0\b.*\b{key}\b", difference)
    longer = sample()
    longer["cells"].append(longer["cells"][0])
    [difference] = build.differences(old, longer)
    assert re.search(r"\b2\b.*\b1\b", difference)
    [difference] = build.differences(old, {**sample(), "metadata": {"a": 1}})
    assert "metadata" in difference


def test_the_comparison_ignores_only_pixels() -> None:
    """Another matplotlib does not fail the check. Method: other pixels, then another size."""
    picture = base64.b64decode(sample()["cells"][0]["outputs"][1]["data"]["image/png"])
    for old, new, faults in (
        (b"pixels", b"PIXELS", 0),
        (b"\x05", b"\x06", 1),
    ):
        changed = sample()
        data = changed["cells"][0]["outputs"][1]["data"]
        data["image/png"] = base64.b64encode(picture.replace(old, new)).decode()
        assert len(build.differences(sample(), changed)) == faults


def test_a_build_joins_what_was_printed_and_drops_ids() -> None:
    """The pieces of a kernel's output do not matter. Method: a text in three pieces."""
    cell = {
        "id": "3f2a",
        "metadata": {"execution": {"started": "now"}},
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["a\nb"]},
            {"output_type": "stream", "name": "stdout", "text": "c\n"},
            {"output_type": "stream", "name": "stderr", "text": "d\n"},
            {"output_type": "display_data", "data": {}},
            {"output_type": "display_data", "data": {}},
        ],
    }
    [settled] = build.normalized({"cells": [cell], "metadata": {"x": 1}})["cells"]
    assert (settled["id"], settled["metadata"]) == ("cell-00", {})
    texts = [output.get("text") for output in settled["outputs"]]
    assert texts == [["a\n", "bc\n"], "d\n", None, None]


@pytest.mark.long
def test_a_lesson_that_raises_is_not_built(tmp_path: Path) -> None:
    """A broken lesson gives no notebook. Method: a cell that raises."""
    jupyter()
    lesson = tmp_path / "99_broken.py"
    lesson.write_text('# %%\nraise ValueError("no such day")\n', encoding="utf-8")
    done: subprocess.CompletedProcess[str] = command(
        FOLDER / "build.py", "--out", tmp_path, lesson, folder=tmp_path
    )
    assert done.returncode == 1
    assert "99_broken.py" in done.stderr.splitlines()[0]
    assert "no such day" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["99_broken.py"]


def test_a_missing_notebook_is_reported(tmp_path: Path) -> None:
    """The check can fail, without a kernel. Method: a lesson without a notebook."""
    lesson = tmp_path / "99_new.py"
    lesson.write_text("# %%\nprint(6 * 7)\n", encoding="utf-8")
    words = (FOLDER / "build.py", "--check", "--out", tmp_path, lesson)
    done = command(*words, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("99_new.ipynb: ")
    assert [path.name for path in tmp_path.iterdir()] == ["99_new.py"]
