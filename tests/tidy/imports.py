"""Rules on imports between the parts of the project, and the ban list of the core.

The imports are read from the AST; docs/architecture.md has a drawing of the allowed ones.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache

from tests.tidy.tree import PACKAGES, ROOT, Source, public_names

BANNED_IN_CORE = {
    "asyncio",
    "datetime",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
IO_CALLS = {"breakpoint", "exec", "eval", "input", "open", "print", "__import__"}
# What a part may import of the project. The command line imports the cli.py of each world.
MAY_IMPORT = {
    "yak_core": {"yak_core"},
    "yak_sim": {"yak_core", "yak_sim"},
    "yak_net": {"yak_core", "yak_net"},
    "yak_cli.py": {"yak_core", "yak_sim", "yak_net"},
    "scenarios": {"yak_core", "yak_sim", "scenarios"},
    "notebooks": {"yak_core", "yak_sim", "yak_net"},
    "yak": set(),
}
OURS = {*PACKAGES, "yak_cli", "scenarios", "notebooks", "benchmarks", "tests"}
READERS_OF_THE_PUBLIC_API = ("scenarios", "notebooks")
PUBLIC_MODULES = ("yak_sim.testing",)
"""Modules whose ``__all__`` is public as well; mypy reports other names of them."""


def imported(source: Source) -> Iterator[tuple[int, str, str]]:
    """Yield each import as (line, module, name); the name is empty for a module."""
    package = source.name.removesuffix(".py").split("/")
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, module, alias.name


OF_EXTRAS = {
    "yak_sim/testing.py": frozenset({"hypothesis"}),
    "notebooks/11_tester.py": frozenset({"hypothesis"}),
}
"""Modules that need an extra, and its packages; nothing else imports them."""


@cache
def declared() -> set[str]:
    """Return the modules of the declared dependencies."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    return {re.split(r"[^\w-]", one)[0].replace("-", "_") for one in wanted}


def arrows(source: Source) -> list[str]:
    """Report imports that are not allowed or not declared."""
    allowed = MAY_IMPORT.get(source.top)
    if allowed is None or not source.is_python:
        return []
    allowed = allowed | OF_EXTRAS.get(source.name, frozenset())
    known = allowed | set(sys.stdlib_module_names) | (declared() if source.top != "yak" else set())
    return [
        f"{source.name}:{line}: {source.top} must not import {module}"
        for line, module, _ in imported(source)
        if module.split(".")[0] not in known
    ]


def purity(source: Source) -> list[str]:
    """Report other packages than crc32c, banned modules, and I/O calls in the core."""
    if source.top != "yak_core" or not source.is_python:
        return []
    allowed = (set(sys.stdlib_module_names) - BANNED_IN_CORE) | {"yak_core", "crc32c"}
    faults = [
        f"{source.name}:{line}: the core must not import {module}"
        for line, module, _ in imported(source)
        if module.split(".")[0] not in allowed
    ]
    for node in source.nodes:
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IO_CALLS:
                faults.append(f"{source.name}:{node.lineno}: the core must not call {name}()")
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                faults.append(f"{source.name}:{node.lineno}: the core must not be async")
    return faults


def public_api(source: Source) -> list[str]:
    """Report imports of scenarios and lessons beyond ``__init__.__all__`` of the packages."""
    if source.top not in READERS_OF_THE_PUBLIC_API or not source.is_python:
        return []
    faults = []
    for line, module, name in imported(source):
        package, _, inner = module.partition(".")
        if package not in PACKAGES:
            continue
        if module in PUBLIC_MODULES and name:
            continue
        if inner or (name and name not in public_names(package)):
            what = f"{module}.{name}" if name else module
            faults.append(f"{source.name}:{line}: {what} is not public: {package}.__all__ is")
    for node in source.nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=package), attr=name) if package in PACKAGES:
                if name not in public_names(package):
                    faults.append(f"{source.name}:{node.lineno}: {package}.{name} is not public")
    return faults
