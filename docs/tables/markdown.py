"""Text and tables in Markdown, from docstrings and values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable


def plain(doc: str | None) -> str:
    """Return the first paragraph of a docstring as one line of Markdown."""
    return flowing(inspect.cleandoc(doc or "").split("\n\n")[0])


def flowing(text: str) -> str:
    """Return the text of a docstring as one line of Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return " ".join(text.split())


def sentence(text: str) -> str:
    """Return ``text`` with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def row(cells: Iterable[object]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table, including the newline after its last line."""
    titles = tuple(titles)
    return "\n".join([row(titles), row("---" for _ in titles), *map(row, rows)]) + "\n"


def code(text: object) -> str:
    """Return ``text`` set as code; an empty text stays empty."""
    return f"`{text}`" if str(text) else ""
