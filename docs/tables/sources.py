"""What the generators read: the project's files, docstrings of modules, classes and fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from pathlib import Path
from typing import Final

from docs.tables.markdown import code, plain

ROOT: Final = Path(__file__).parents[2]
CORE: Final = ROOT / "yak_core"


def core_sources() -> dict[str, str]:
    """Return the text of each module of yak_core by its path in the package."""
    return {
        path.relative_to(CORE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(CORE.rglob("*.py"))
    }


def listed(values: object) -> tuple[type, ...]:
    """Return the members of a union of classes, in order."""
    return typing.cast(tuple[type, ...], typing.get_args(values))


def fields(cls: type) -> str:
    """Return the fields of a value class with their types, set as code."""
    assert dataclasses.is_dataclass(cls)
    return ", ".join(code(f"{f.name}: {f.type}") for f in dataclasses.fields(cls))


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the strings below the fields of a class, or the members of an enum, by name."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        match before, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = plain(text)
    return found
