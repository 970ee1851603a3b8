"""``yak lessons`` and ``yak lab`` without a server: the list, the copies, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner, Result

from tests.notebooks.lessons import FOLDER, SCRIPTS
from yak_cli import main
from yak_sim.lessons import catalog, jupyter

NAMES = [script.with_suffix(".ipynb").name for script in SCRIPTS]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def yak(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, words)


def no_server(command: list[str]) -> NoReturn:
    """Fail in place of starting JupyterLab."""
    raise AssertionError(command)


def test_every_lesson_is_listed() -> None:
    """Goal: the list is that of the files; method: compare it with the folder, by number."""
    done = yak("lessons", "--json")
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert [Path(each["file"]) for each in listed] == [FOLDER / name for name in NAMES]
    assert [each["lesson"] for each in listed] == [int(name[:2]) for name in NAMES]
    assert all(each["minutes"] >= 30 for each in listed)
    assert listed[0] == {
        "lesson": 1,
        "title": "First plot: log, offsets, LEO against HW",
        "minutes": 45,
        "needs": "basic Python",
        "file": str(FOLDER / "01_first_plot.ipynb"),
    }


def test_the_table_has_a_line_per_lesson() -> None:
    """Goal: a pipe gets whole lines; method: title, length and prerequisites of each lesson."""
    lines = yak("lessons").stdout.splitlines()
    found = catalog.lessons()
    assert len(lines) == 1 + len(found)
    for line, each in zip(lines[1:], found, strict=True):
        assert line.split()[0] == str(each.number)
        assert each.title in line
        assert f" {each.minutes} " in line
        assert each.needs in line


@pytest.mark.parametrize(
    "text", ["", "{}", '{"cells": []}', '{"cells": [{"source": ["# Lesson 1. X"]}]}']
)
def test_a_notebook_that_is_no_lesson_is_named(text: str, folder: Path) -> None:
    """Method: a damaged file, one without cells, one without the line of time."""
    (folder / "01_x.ipynb").write_text(text, encoding="utf-8")
    with pytest.raises(catalog.LessonError, match=r"01_x\.ipynb"):
        catalog.lessons(folder)


def test_an_empty_folder_has_no_lessons(folder: Path) -> None:
    """Goal: an incomplete installation is noticed."""
    with pytest.raises(catalog.LessonError, match="no lessons"):
        catalog.lessons(folder)


def test_copies_are_equal_and_are_kept(folder: Path) -> None:
    """Goal: a student's work is safe; method: change a copy, delete another, copy again."""
    done = yak("lab", "2", "--copy-only")
    assert (done.exit_code, done.stdout) == (0, f"yak-lessons/{NAMES[1]}\n")
    made = folder / "yak-lessons"
    assert sorted(path.name for path in made.iterdir()) == NAMES
    assert all((made / name).read_bytes() == (FOLDER / name).read_bytes() for name in NAMES)
    (made / NAMES[0]).write_text("my work", encoding="utf-8")
    (made / NAMES[1]).unlink()
    (made / NAMES[1]).symlink_to(folder / "elsewhere")
    (made / NAMES[2]).unlink()
    assert yak("lab", "--copy-only").stdout == "yak-lessons\n"
    assert (made / NAMES[0]).read_text(encoding="utf-8") == "my work"
    assert not (folder / "elsewhere").exists()
    assert (made / NAMES[2]).read_bytes() == (FOLDER / NAMES[2]).read_bytes()


def test_a_copy_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no half lesson that later counts as the student's; method: a full disk."""

    def full(target: Path, content: bytes) -> int:
        target.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "write_bytes", full)
    done = yak("lab", "--copy-only", "--folder", "mine")
    assert done.exit_code == 2
    assert "No space left" in done.stderr
    assert list((folder / "mine").iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("99",),
        ("0",),
        ("one",),
        ("--slides",),
        ("1", "--slides", "--copy-only"),
        ("--port", "0"),
        ("--folder", str(FOLDER)),
        ("--folder", "file/below"),
    ],
)
def test_what_cannot_be_opened_is_refused(
    words: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: exit code 2, nothing written, no server; the originals are no place to work."""
    monkeypatch.setattr(jupyter, "MODULES", ())
    monkeypatch.setattr("yak_sim.cli_lessons.open_lab", no_server)
    (folder / "file").write_text("", encoding="utf-8")
    assert yak("lab", *words).exit_code == 2
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: one sentence says what to install, before anything is copied."""
    monkeypatch.setattr(jupyter, "MODULES", ("no_such_module",))
    monkeypatch.setattr("yak_sim.cli_lessons.open_lab", no_server)
    for words in (("lab",), ("lab", "1", "--slides")):
        done = yak(*words)
        assert done.exit_code == 1
        assert "no_such_module" in done.stderr
        assert "yak-log[lab]" in done.stderr
    assert list(folder.iterdir()) == []
    assert yak("lab", "--copy-only").exit_code == 0


def test_jupyterlab_replaces_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: options reach JupyterLab, with the kernel of this Python; method: look at the exec."""
    started: list[tuple[list[str], dict[str, str]]] = []

    def execv(_path: str, words: list[str]) -> None:
        started.append((words, dict(os.environ)))

    monkeypatch.setattr(jupyter, "MODULES", ())
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/own")
    yak("lab", "1", "--no-browser", "--port", "9999")
    yak("lab", "--folder", "mine")
    (lesson, env), (whole, _) = started
    assert {"--no-browser", "--ServerApp.port=9999", "--ServerApp.port_retries=0"} <= set(lesson)
    assert f"--LabApp.default_url=/lab/tree/{NAMES[0]}" in lesson
    assert f"--ServerApp.root_dir={folder / 'yak-lessons'}" in lesson
    assert f"--ServerApp.root_dir={folder / 'mine'}" in whole
    assert "--LabApp.default_url=/lab" in whole
    assert not [word for word in whole if "port" in word or "browser" in word]
    assert env["JUPYTER_PREFER_ENV_PATH"] == "1"
    own, theirs = env["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert theirs == "/own"
    page = json.loads(Path(own, "labconfig", "page_config.json").read_text(encoding="utf-8"))
    assert any(page["disabledExtensions"].values())


def test_a_section_is_a_column_of_slides() -> None:
    """Goal: slides without editing a lesson; a teacher's own slide types are kept."""
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"], "metadata": {}},
        {"cell_type": "code", "source": ["# %% comment"], "metadata": {}},
        {"cell_type": "markdown", "source": "text", "metadata": {}},
        {
            "cell_type": "markdown",
            "source": "## Skipped",
            "metadata": {"slideshow": {"slide_type": "skip"}},
        },
    ]
    made = jupyter.as_slides({"cells": cells})["cells"]
    kinds = [cell["metadata"]["slideshow"]["slide_type"] for cell in made]
    assert kinds == ["slide", "subslide", "subslide", "skip"]
