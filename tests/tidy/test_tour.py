"""docs/tour.md shows the source as it is, and names what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.tables import excerpts
from tests.tidy.tree import ROOT, sources

TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TOUR, flags=re.MULTILINE | re.DOTALL)
NAME = re.compile(r"`(?:[A-Z]\w+\.)?([A-Za-z_]\w*)`")

SAMPLE = '''@final
class Log:
    """A log."""

    def append(self, count: int) -> None:
        """Append."""
        self.end += count
        if self.full:
            return
        self.flush()


LIMIT: int = 3
'''


def test_excerpts_are_the_source() -> None:
    assert excerpts.filled_in(TOUR) == TOUR, "run `python docs/generate.py`"


def test_names_in_the_text_exist() -> None:
    """A renamed function is renamed in the text, too."""
    code = "\n".join(each.text for each in sources() if each.top != "docs")
    known = set(re.findall(r"\w+", code))
    assert [name for name in NAME.findall(PROSE) if name not in known] == []


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.py").write_text(SAMPLE, encoding="utf-8")
    monkeypatch.setattr(excerpts, "ROOT", tmp_path)


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ("log.py LIMIT", "LIMIT: int = 3\n"),
        ("log.py Log.append", 'def append(self, count: int) -> None:\n    """Append."""\n'),
        ("log.py Log", "@final\nclass Log:\n"),
        ("log.py Log.append[1]", "None:\n    ...\n    self.end += count\n    ...\n```"),
        ("log.py Log.append[1,3:]", "    self.end += count\n    ...\n    self.flush()\n```"),
        ("log.py Log.append[0:3]", "        return\n    ...\n```"),
    ],
)
def test_an_excerpt_shows_the_named_part(wanted: str, shown: str) -> None:
    found = excerpts.filled_in(f"<!-- excerpt: {wanted} -->\n<!-- end excerpt -->\n")
    assert shown in found
    assert excerpts.filled_in(found) == found


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("<!-- excerpt: none.py -->\n<!-- end excerpt -->\n", "none.py"),
        ("<!-- excerpt: log.py Log.close -->\n<!-- end excerpt -->\n", "Log.close"),
        ("<!-- excerpt: log.py Log.append[9] -->\n<!-- end excerpt -->\n", "4 statements"),
        ("<!-- excerpt: log.py Log -->\n", "lacks its partner"),
        ("<!-- end excerpt -->\n", "lacks its partner"),
    ],
)
def test_what_does_not_exist_is_an_error(page: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        excerpts.filled_in(page)


@pytest.mark.usefixtures("sample")
def test_sizes_count_files_once() -> None:
    marks = "<!-- excerpt: log.py LIMIT -->\n<!-- end excerpt -->\n"
    assert excerpts.sizes(marks + marks) == [("log.py", 13, 2)]
