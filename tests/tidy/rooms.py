"""Rules on imports between the folders of a package: order, circles, and package ``__init__``.

All three read imports from the source, also those for type checking only, those inside functions,
and those by name (``import_module("yak_sim.cli")``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from tests.tidy.imports import imported
from tests.tidy.tree import PACKAGES, ROOT, Source

ROOMS: Mapping[str, tuple[str, ...]] = {
    "yak_core": (
        *("ids", "value", "fork", "errors", "config"),
        *("batch", "encoding", "log", "metadata", "contract", "rules", "model", "wire", "clients"),
        *("broker", "invariants", "trace", "manual", "__init__"),
    ),
    "yak_sim": (
        *("physics", "world", "plot", "run", "search", "testing", "grading", "anonymous"),
        *("lessons", "cli_common", "cli_lessons", "cli_sweep", "cli_plot", "cli_scenario", "cli"),
        *("demo", "script", "__init__"),
    ),
    "yak_net": (
        *("compression", "storage", "metadata", "runtime", "metrics", "http", "client", "broker"),
        *("cluster", "observe", "log_files", "doctor"),
        *("cli", "demo", "__init__"),
    ),
}
"""The folders and modules of each package; each imports only from those before it."""


def module_of(name: str) -> str:
    """Return the dotted name of a source file; that of the package for ``__init__.py``."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports_of(source: Source) -> Iterator[tuple[int, str]]:
    """Yield each import as (line, dotted name of a module or of a name in it)."""
    for line, module, name in imported(source):
        yield line, f"{module}.{name}" if name else module
    for node in source.nodes:
        match node:
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def upward_arrows(source: Source) -> list[str]:
    """Report imports from a later folder, and files in unknown folders."""
    if source.top not in PACKAGES or not source.is_python:
        return []
    order = ROOMS[source.top]
    room = _room(module_of(source.name))
    if room not in order:
        return [f"{source.name}:1: {room} is not a known room of {source.top}"]
    faults = []
    for line, name in imports_of(source):
        if name.split(".")[0] != source.top:
            continue
        other = _room(name)
        if other in order and order.index(other) > order.index(room):
            faults.append(f"{source.name}:{line}: {room} must not import from {other}")
    return faults


def own_front_doors(source: Source) -> list[str]:
    """Report modules that import from the ``__init__`` of their own package."""
    if source.top not in PACKAGES or not source.is_python:
        return []
    inside = module_of(source.name).split(".")
    packages = {".".join(inside[:depth]) for depth in range(1, len(inside))}
    return [
        f"{source.name}:{line}: {module} is the front door of its own package"
        for line, module, name in imported(source)
        if module in packages and not (name and _is_submodule(module, name))
    ]


def circles(sources: Iterable[Source]) -> list[str]:
    """Report the first circle of imports. ``a.b.c`` is not an import of ``a.b``."""
    modules = {
        module_of(source.name): source
        for source in sources
        if source.is_python and source.top in {*PACKAGES, "scenarios", "yak_cli.py"}
    }
    edges = {
        module: dict.fromkeys(
            target
            for _, name in imports_of(source)
            if (target := _target(name, modules)) and target != module
        )
        for module, source in modules.items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        return [f"{modules[circle[0]].name}:1: imports in a circle: {' -> '.join(circle)}"]
    return []


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _is_submodule(package: str, name: str) -> bool:
    base = ROOT / package.replace(".", "/")
    return (base / f"{name}.py").is_file() or (base / name).is_dir()


def _target(name: str, modules: Mapping[str, Source]) -> str:
    """Return the module of an imported name, or "" for another project's."""
    if name in modules:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules else ""
