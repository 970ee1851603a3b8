"""Excerpts of the source in a page of docs/, kept equal to the source.

An excerpt is written as a comment, a code block and a second comment::

    <!-- excerpt: yak_core/broker/follower.py Follower.on_replicate[1:4] -->
    <!-- end excerpt -->

``docs/generate.py`` fills in the code block. A path alone shows the whole file. A name shows a
function or class. A slice shows its first line and these statements of its body, where statement 0
is the docstring; ``...`` marks what is left out.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from docs.tables.sources import ROOT

EXCERPT: Final = re.compile(
    r"(?P<open><!-- excerpt: (?P<path>\S+)(?: (?P<name>[\w.]+))?(?:\[(?P<slice>[\d:,]*)\])? -->\n)"
    r"(?P<body>.*?)(?P<close><!-- end excerpt -->)",
    re.DOTALL,
)
MARKER: Final = re.compile(r"^<!-- (?:excerpt: .*|end excerpt) -->$", re.MULTILINE)
LANGUAGES: Final = {".py": "python", ".golden": "text"}

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Size(NamedTuple):
    """The lines of a file, and how many of them a page shows."""

    path: str
    lines: int
    shown: int


def filled_in(text: str) -> str:
    """Return ``text`` with each excerpt as in the source now.

    Raise ValueError for a marker without its partner, and for a name or statement that does not
    exist.
    """
    found = list(EXCERPT.finditer(text))
    markers = len(MARKER.findall(text))
    if markers != 2 * len(found):
        raise ValueError(f"{markers} markers of excerpts make {len(found)}: one lacks its partner")
    return EXCERPT.sub(lambda match: f"{match['open']}{_block(match)}{match['close']}", text)


def sizes(text: str) -> list[Size]:
    """Return the files of the excerpts in ``text``, in the order of their first excerpt."""
    shown: dict[str, int] = {}
    for match in EXCERPT.finditer(text):
        lines = len(_block(match).splitlines()) - 2
        shown[match["path"]] = shown.get(match["path"], 0) + lines
    return [
        Size(path, len((ROOT / path).read_text(encoding="utf-8").splitlines()), lines)
        for path, lines in shown.items()
    ]


def _block(match: re.Match[str]) -> str:
    path = ROOT / match["path"]
    if not path.is_file():
        raise ValueError(f"excerpt of a file that does not exist: {match['path']}")
    text = path.read_text(encoding="utf-8")
    if match["name"] is not None:
        text = _definition(text, match["path"], match["name"], match["slice"])
    return f"```{LANGUAGES.get(path.suffix, '')}\n{text.rstrip()}\n```\n"


def _definition(text: str, path: str, name: str, wanted: str | None) -> str:
    """Return the source of a function, class or name of a module, or some of its statements."""
    lines = text.splitlines()
    node = _found(ast.parse(text), path, name)
    if wanted is None or not isinstance(node, Definition):
        return textwrap.dedent("\n".join(lines[_first_line(node) - 1 : node.end_lineno]))
    shown = [lines[number - 1] for number in range(_first_line(node), node.body[0].lineno)]
    inner = " " * node.body[0].col_offset + "..."
    last = 0
    for start, stop in _spans(wanted, len(node.body), f"{path} {name}"):
        if start > last:
            shown.append(inner)
        shown += lines[node.body[start].lineno - 1 : node.body[stop - 1].end_lineno]
        last = stop
    if last < len(node.body):
        shown.append(inner)
    return textwrap.dedent("\n".join(shown))


def _spans(wanted: str, count: int, place: str) -> Iterator[tuple[int, int]]:
    """Return the ranges of statements that a slice such as ``1:3,5:`` names."""
    for part in wanted.split(","):
        first, colon, end = part.partition(":")
        start = int(first or 0)
        stop = int(end or count) if colon else start + 1
        if not 0 <= start < stop <= count:
            raise ValueError(f"{place} has {count} statements, so there is no [{part}]")
        yield start, stop


def _found(tree: ast.Module, path: str, name: str) -> ast.stmt:
    body: list[ast.stmt] = tree.body
    node: ast.stmt | None = None
    for part in name.split("."):
        node = next((each for each in body if part in _names(each)), None)
        if node is None:
            raise ValueError(f"{path} has no {name}")
        body = node.body if isinstance(node, Definition) else []
    assert node is not None
    return node


def _names(node: ast.stmt) -> tuple[str, ...]:
    if isinstance(node, Definition):
        return (node.name,)
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return (node.target.id,)
    if isinstance(node, ast.Assign):
        return tuple(each.id for each in node.targets if isinstance(each, ast.Name))
    return ()


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(each.lineno for each in decorators)])
