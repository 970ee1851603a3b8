"""The public names of each package, with the first line of their docstrings.

The names and docstrings are read from the source, without an import.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from docs.tables import markdown
from docs.tables.sources import ROOT


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
    return (first[0] if first else text)


def names(package: str) -> str:
    """Return the table of the public names of a package."""
    rows = (
        (f"`{public.name}`", public.kind, f"`{public.module}`", one_line(public.doc))
        for public in public_names(package)
    )
    return markdown.table(("name", "kind", "defined in", "meaning"), rows)
