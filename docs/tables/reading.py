"""The reading order, with the sizes of the files."""

from __future__ import annotations

from docs.table_text import READING
from docs.tables.markdown import table
from docs.tables.sources import ROOT


def reading_order() -> str:
    """Files for a newcomer with their sizes, rounded so that they stay true for a while."""
    rows: list[tuple[object, ...]] = []
    total = 0
    for number, (path, why) in enumerate(READING, 1):
        lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        rounded = max(50, round(lines / 50) * 50)
        total += rounded
        rows.append((number, f"[{path}](../{path})", f"about {rounded}", why))
    rows.append(("", "all of them", f"about {total:,}", ""))
    return table(("", "file", "lines", "what it is for"), rows)
