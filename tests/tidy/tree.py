"""The files of the project for the tidy rules."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
PACKAGES = ("yak_core", "yak_sim", "yak_net")
PRODUCT = (*PACKAGES, "scenarios", "notebooks", "benchmarks", "yak_cli.py", "yak")
NOT_OURS = {"build", "dist", "node_modules", "out", "samples", "vendor", "__pycache__"}
NOT_OURS |= {"yak-lessons"}
TEXT = {"", ".cfg", ".ini", ".ipynb", ".json", ".jsonl", ".lua", ".md", ".py", ".sh", ".toml"}
TEXT |= {".golden", ".html", ".js", ".lock", ".txt", ".yaml", ".yml"}
FOLDERS = {*PRODUCT, ".ci", "docs", "infra", "tests"}
"""Top-level names; other folders and files without a suffix are the user's, such as ``data``."""


Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A file: its path below the project's folder, with slashes, and its text."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Return the parsed Python."""
        return ast.parse(self.text, self.name)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Return every node of the parsed Python."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """Return every function and method, nested ones too."""
        return tuple(
            node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )

    @property
    def top(self) -> str:
        """Return the first part of the path, such as ``yak_core``."""
        return self.name.split("/")[0]

    @property
    def is_python(self) -> bool:
        """Return whether the file is Python."""
        return self.name.endswith(".py") or self.name == "yak"


def sources(root: Path = ROOT) -> Iterator[Source]:
    """Yield every text file of the project, in the order of the names."""
    for folder, folders, files in os.walk(root):
        at_top = Path(folder) == root
        folders[:] = sorted(
            f for f in folders if (f in FOLDERS if at_top else f not in NOT_OURS and _is_ours(f))
        )
        for file in sorted(files):
            path = Path(folder, file)
            ours = _is_ours(file) and (path.suffix or not at_top or file in {*FOLDERS, "LICENSE"})
            if ours and path.suffix in TEXT and not path.is_symlink():
                yield source_of(path, root)


@cache
def source_of(path: Path, root: Path = ROOT) -> Source:
    """Return a file of the project, read and parsed once."""
    return Source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))


def _is_ours(name: str) -> bool:
    """Return whether a name is no cache and no private state of a tool; ``.ci`` is ours."""
    return name == ".ci" or not name.startswith(".")


@cache
def public_names(package: str) -> set[str]:
    """Return ``__init__.__all__`` of ``package``, read without importing it."""
    path = ROOT / package / "__init__.py"
    if not path.exists():
        return set()
    for node in source_of(path).tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return {str(name) for name in ast.literal_eval(value)}
    return set()
