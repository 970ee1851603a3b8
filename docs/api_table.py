"""Writes docs/api.md: the public names of each package, with the first line of their docstrings.

``python docs/api_table.py`` writes the page. With ``--check`` it writes nothing, and the exit code
is 1 if the page is stale. The names and docstrings are read from the source, without an import.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "api.md"
PACKAGES: Final = {
    "yak_core": "The protocol as state machines, and the manual world that runs them.",
    "yak_sim": "The simulator: worlds, scenarios, expectations, run folders, replay and plots.",
    "yak_net": "Clients of real brokers, and the errors that they raise.",
}
"""Package: what its names are for."""

OPENING: Final = """# Public names

The names in `__all__` of the three packages. Other names may change without a note in the
changelog. The docstring of each package has a runnable example. `docs/api_table.py` writes this
page.
"""


class Public(NamedTuple):
    """A public name: its kind, the module that defines it, and its docstring."""

    name: str
    kind: str
    module: str
    doc: str


def public_names(package: str) -> list[Public]:
    """Return the public names of a package, in the order of ``__all__``."""
    listed: list[str] = []
    for node in _module(package).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                listed = ast.literal_eval(value)
    return [find(package, name) for name in listed]


def find(module: str, name: str) -> Public:
    """Find the definition of a name, through imports. Raise LookupError if there is none."""
    found = imported = ""
    for node, after in _with_next(_module(module)):
        match node:
            case ast.ClassDef(name=defined) | ast.FunctionDef(name=defined) if defined == name:
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                return Public(name, kind, module, ast.get_docstring(node) or "")
            case (
                ast.Assign(targets=[ast.Name(id=defined)])
                | ast.AnnAssign(target=ast.Name(id=defined))
            ) if defined == name:
                return Public(name, _kind_of_value(node), module, _text_of(after))
            case ast.ImportFrom(module=str(source), names=names):
                if any((alias.asname or alias.name) == name for alias in names):
                    found, imported = name, source
    if not found:
        raise LookupError(f"{module} does not define {name}")
    return find(imported, found)


@cache
def _module(name: str) -> ast.Module:
    path = ROOT.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def _with_next(module: ast.Module) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    """Each statement of a module and of its ``if TYPE_CHECKING``, with the statement after it."""
    for node, after in zip(module.body, [*module.body[1:], None], strict=True):
        yield node, after
        if isinstance(node, ast.If):
            yield from ((inner, None) for inner in node.body)


def _kind_of_value(node: ast.Assign | ast.AnnAssign) -> str:
    """Return ``type`` for an alias or a NewType, ``constant`` for other values."""
    if isinstance(node, ast.AnnAssign):
        return "type" if ast.unparse(node.annotation) == "TypeAlias" else "constant"
    return "type" if ast.unparse(node.value).startswith("NewType(") else "constant"


def _text_of(node: ast.stmt | None) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
    return ""


def one_line(doc: str) -> str:
    """Return the first sentence of a docstring as Markdown."""
    text = " ".join(doc.split("\n\n", maxsplit=1)[0].split())
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    first = re.match(r"(?:`[^`]*`|[^`])*?\.(?= [A-Z`]|$)", text)
    return (first[0] if first else text).replace("|", "\\|")


def table(package: str) -> str:
    """Return the table of a package."""
    rows = ["| name | kind | defined in | meaning |", "| --- | --- | --- | --- |"]
    for public in public_names(package):
        where = f"`{public.module}`"
        rows.append(f"| `{public.name}` | {public.kind} | {where} | {one_line(public.doc)} |")
    return "\n".join(rows)


def page() -> str:
    """Return the whole page."""
    parts = [OPENING]
    for package, purpose in PACKAGES.items():
        parts.append(f"## {package}\n\n{purpose}\n\n{table(package)}\n")
    return "\n".join(parts)


def main(words: list[str]) -> int:
    """Write the page, or with ``--check`` compare it. Return the exit code."""
    if words not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/api_table.py [--check]\n")
        return 2
    text = page()
    stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
    if stale:
        sys.stdout.write(f"docs/api.md {'is stale' if words else 'written'}\n")
    if not words:
        PAGE.write_text(text, encoding="utf-8")
    return 1 if words and stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
