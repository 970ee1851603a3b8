"""``yak lessons`` and ``yak lab``: list the lessons, and open copies of them in JupyterLab."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import click

from yak_sim.cli_common import HELP, CommandFailed, CommandLineError
from yak_sim.lessons.catalog import Lesson, LessonError, lesson, lessons
from yak_sim.lessons.copies import copy_lessons
from yak_sim.lessons.jupyter import (
    ExtraMissing,
    SlidesFailed,
    lab_command,
    open_lab,
    require_extra,
    write_slides,
)

DEFAULT_FOLDER: Final = "yak-lessons"


@click.command("lessons", context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per lesson.")
def lessons_command(as_json: bool) -> None:
    """List the lessons with their length in minutes and what a student must know.

    `yak lab N` opens lesson N. The length is the time that a student needs, with the exercise.
    """
    found = _all()
    if as_json:
        for each in found:
            fields = {"lesson": each.number, "title": each.title, "minutes": each.minutes}
            click.echo(json.dumps({**fields, "needs": each.needs, "file": str(each.path)}))
        return
    _print(found)
    if sys.stdout.isatty():
        click.echo("open one in JupyterLab: yak lab N", err=True)


@click.command("lab", context_settings=HELP)
@click.argument("number", metavar="[N]", required=False, type=click.IntRange(min=1))
@click.option(
    "--folder", default=DEFAULT_FOLDER, show_default=True, metavar="DIR",
    type=click.Path(path_type=Path), help="Folder of your copies.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="PORT",
    help="Port of JupyterLab. Default: the first free one from 8888.",
)
@click.option("--copy-only", is_flag=True, help="Copy the lessons, and exit.")
@click.option("--slides", is_flag=True, help="Write lesson N as slides, and exit.")
def lab(
    number: int | None, folder: Path, no_browser: bool, port: int | None, copy_only: bool,
    slides: bool,
) -> None:
    """Open lesson N, or the folder of all lessons, in JupyterLab, until Ctrl-C.

    The lessons are copied to DIR, and you work in your copies. A copy that exists is never
    overwritten: delete or rename it to start again. JupyterLab is in the extra `lab`, which
    `./yak lab` installs. It listens on this machine only, and its address contains a token.

    --slides writes an HTML file beside the copy, with its present output. The file loads reveal.js
    from the internet when it is opened.

    Exit codes: 0 success, 1 JupyterLab is missing or failed, 2 invalid command line or folder.
    """
    if slides and number is None:
        raise CommandLineError("--slides needs the number of a lesson, such as yak lab 1 --slides")
    if slides and copy_only:
        raise CommandLineError("--slides and --copy-only exclude each other; omit one")
    try:
        if not copy_only:
            require_extra()
        found = _all()
        wanted = None if number is None else lesson(number, found)
        written, kept = copy_lessons(found, folder)
    except ExtraMissing as error:
        raise CommandFailed(str(error)) from error
    except LessonError as error:
        raise CommandLineError(str(error)) from error
    except OSError as error:
        why = f"cannot write {error.filename or folder}: {error.strerror}"
        raise CommandLineError(f"{why}; choose another folder with --folder") from error
    from yak_sim.plot.captions import counted

    if written:
        click.echo(f"wrote {counted(len(written), 'lesson')} to {folder}", err=True)
    if kept:
        click.echo(f"kept {counted(len(kept), 'lesson')} in {folder} as they are", err=True)
    copy = None if wanted is None else folder / wanted.path.name
    if copy_only:
        click.echo(folder if copy is None else copy)
    elif slides:
        assert copy is not None
        _slides(copy)
    else:
        open_lab(lab_command(folder, copy, browser=not no_browser, port=port))


def _all() -> list[Lesson]:
    try:
        return lessons()
    except LessonError as error:
        raise CommandFailed(str(error)) from error


def _slides(copy: Path) -> None:
    try:
        target = write_slides(copy)
    except SlidesFailed as error:
        raise CommandFailed(f"cannot write slides of {copy}: {error}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CommandLineError(
            f"cannot make slides of {copy}: {error}; rename the file to get a fresh copy"
        ) from error
    click.echo(target)
    click.echo("the slides load reveal.js from the internet when they are opened", err=True)


def _print(found: list[Lesson]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("LESSON", justify="right")
    table.add_column("TITLE", no_wrap=not sys.stdout.isatty())
    table.add_column("MINUTES", justify="right")
    table.add_column("YOU NEED", no_wrap=not sys.stdout.isatty())
    for each in found:
        table.add_row(str(each.number), each.title, str(each.minutes), each.needs)
    # A pipe has no width: a line per lesson is easier to read and to cut than a wrapped one.
    width = None if sys.stdout.isatty() else Console(width=10_000).measure(table).maximum
    Console(width=width).print(table, markup=False)
