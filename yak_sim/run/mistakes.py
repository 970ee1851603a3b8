"""Where a mistake of a scenario script is: its file and line, and calls that do nothing."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_PACKAGES: Final = ("yak_sim", "yak_core", "simpy")


class NeverStarted(Exception):
    """A script calls a generator function without ``yield from``, so its body does not run."""


def place_of(error: BaseException, function: Callable[..., Any]) -> str:
    """Return ``file:line`` in the script for an exception, empty if no line of it was involved.

    It is the innermost line in the file of ``function``. If there is none, as for a condition that
    is defined in another file, it is the innermost line outside of the simulator.
    """
    own = _file_of(function)
    places = list(_places(error.__traceback__))
    in_own = [(path, line) for path, line, _ in places if path == own]
    outside = [(path, line) for path, line, module in places if not _is_ours(module)]
    for found in (in_own, outside):
        if found:
            path, line = found[-1]
            return f"{Path(path).name}:{line}"
    return ""


def check_calls(function: Callable[..., Any]) -> None:
    """Raise NeverStarted if a statement of the script only calls a generator function.

    Checked are the function of the scenario and the generator functions that it calls by name. A
    script whose source cannot be read, as in an interactive prompt, is not checked.
    """
    pending, seen = [function], {function}
    while pending:
        current = pending.pop()
        for name, line, alone in _calls(current):
            called = _resolved(current, name)
            if not inspect.isgeneratorfunction(called):
                continue
            if alone:
                place = f"{Path(_file_of(current)).name}:{line}"
                raise NeverStarted(
                    f"{name}(...) at {place} has no 'yield from', so it does not run"
                )
            if called not in seen:
                seen.add(called)
                pending.append(called)


def _places(traceback: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        yield code.co_filename, traceback.tb_lineno, module
        traceback = traceback.tb_next


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _PACKAGES


def _file_of(function: Callable[..., Any]) -> str:
    return str(inspect.unwrap(function).__code__.co_filename)


def _calls(function: Callable[..., Any]) -> Iterator[tuple[str, int, bool]]:
    """Yield (name, line, whether it is a statement of its own) for each call by a plain name."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return
    tree = ast.parse(textwrap.dedent("".join(lines)))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, first + node.lineno - 1, id(node) in alone


def _resolved(function: Callable[..., Any], name: str) -> Any:
    """Return the object of a global or closure name in a function, None if there is none."""
    code = inspect.unwrap(function).__code__
    if name in code.co_freevars:
        cell = (inspect.unwrap(function).__closure__ or ())[code.co_freevars.index(name)]
        try:
            return cell.cell_contents
        except ValueError:
            return None
    return function.__globals__.get(name)
