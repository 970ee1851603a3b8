"""The lessons: finds the notebooks, and reads title, length and prerequisites from them.

The lessons are in ``yak_sim/_lessons``. In a checkout this is a link to the folder ``notebooks``;
an installation has the notebooks there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = (Path(__file__).parents[1] / "_lessons").resolve()
"""The folder of the project's lessons."""

TITLE: Final = re.compile(r"^# Lesson (\d+)\. (.+)$", re.MULTILINE)
NEEDS: Final = re.compile(r"\*Time:\* (\d+) minutes\.\s+\*You need:\*\s+(.+?)\.(?:\s|$)", re.DOTALL)


class LessonError(ValueError):
    """There is no such lesson, or its notebook cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson: ``needs`` is what a student must know, ``path`` the notebook with its output."""

    number: int
    title: str
    minutes: int
    needs: str
    path: Path


def lessons(folder: Path = FOLDER) -> list[Lesson]:
    """Return the lessons of a folder by number. Raise LessonError."""
    found = [_read(path) for path in folder.glob("[0-9][0-9]_*.ipynb")]
    if not found:
        raise LessonError(
            f"no lessons in {folder}; install yak-log again, or run ./yak in a checkout of YAK"
        )
    return sorted(found, key=lambda lesson: lesson.number)


def lesson(number: int, found: list[Lesson]) -> Lesson:
    """Return the lesson with this number. Raise LessonError."""
    for each in found:
        if each.number == number:
            return each
    known = ", ".join(str(each.number) for each in found)
    raise LessonError(f"no lesson {number}; expected one of {known}, see yak lessons")


def _read(path: Path) -> Lesson:
    """Read the first cell of a notebook: the heading, and the line of time and prerequisites."""
    try:
        text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LessonError(f"cannot read the lesson {path}: {error}; get the file again") from error
    title, needs = TITLE.search(text), NEEDS.search(text)
    if title is None or needs is None:
        raise LessonError(
            f"{path} does not begin as a lesson; expected '# Lesson N. TITLE' and "
            "'*Time:* N minutes. *You need:* ...'"
        )
    return Lesson(int(title[1]), title[2], int(needs[1]), " ".join(needs[2].split()), path)
