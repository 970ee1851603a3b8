"""Text and tables in Markdown, from docstrings and values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable


def plain(doc: str | None) -> str:
    """The first paragraph of a docstring in one line of Markdown."""
    return flowing(inspect.cleandoc(doc or "").split("\n\n")[0])


def flowing(text: str) -> str:
    """Text of a docstring as Markdown, in one line."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return " ".join(text.split())


def sentence(text: str) -> str:
    """``text`` with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def row(cells: Iterable[object]) -> str:
    """One line of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table, with the newline behind its last line."""
    titles = tuple(titles)
    return "\n".join([row(titles), row("---" for _ in titles), *map(row, rows)]) + "\n"


def code(text: object) -> str:
    """``text`` set as code, or nothing for nothing."""
    return f"`{text}`" if str(text) else ""
