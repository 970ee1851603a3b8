"""Copies of the lessons for a student; a file that exists is never overwritten."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from yak_sim.lessons.catalog import FOLDER, Lesson, LessonError
from yak_sim.run.whole_file import write_whole


def copy_lessons(lessons: Iterable[Lesson], folder: Path) -> tuple[list[Path], list[Path]]:
    """Copy notebooks into a folder; return those written, and those that were there before.

    A copy gets its name when it is complete. Raise LessonError for the folder of the originals,
    and OSError.
    """
    if folder.resolve() == FOLDER.resolve():
        raise LessonError(
            f"{folder} is the folder of the original lessons; choose another one with --folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for lesson in lessons:
        copy = folder / lesson.path.name
        if os.path.lexists(copy):
            kept.append(copy)
            continue
        write_whole(copy, lesson.path.read_bytes())
        written.append(copy)
    return written, kept
