"""The files that docs/tour.md shows, with their sizes."""

from __future__ import annotations

from docs.tables.excerpts import sizes
from docs.tables.markdown import table
from docs.tables.sources import ROOT


def files() -> str:
    """Return the table of the files in reading order; lines are rounded up to tens."""
    found = sizes((ROOT / "docs" / "tour.md").read_text(encoding="utf-8"))
    rows: list[tuple[object, ...]] = [
        (number, f"[{size.path}](../{size.path})", _tens(size.lines), _tens(size.shown))
        for number, size in enumerate(found, 1)
    ]
    lines, shown = sum(_tens(size.lines) for size in found), sum(_tens(s.shown) for s in found)
    rows.append(("", "all of them", f"{lines:,}", shown))
    return table(("", "file", "lines", "shown here"), rows)


def _tens(lines: int) -> int:
    return -(-lines // 10) * 10
