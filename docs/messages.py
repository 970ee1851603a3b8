"""Print all messages that users see, for reading them in one go.

``python docs/messages.py`` prints the help of each command, then the texts in the code by package
and module: errors, log lines, notes of a run and other output. ``{}`` stands for a value. Texts of
one word are left out, and so are docstrings.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click

# Run as a script, only docs/ would be on the path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from yak_cli import main as yak

ROOT: Final = Path(__file__).parents[1]
PLACES: Final = ("yak_core", "yak_net", "yak_sim", "scenarios", "yak_cli.py", "yak")
LOG_CALLS: Final = {"debug", "info", "warning", "error", "exception", "critical"}


class Message(NamedTuple):
    """One text of the code; ``kind`` is assertion, error, log or text."""

    path: str
    line: int
    kind: str
    text: str


def helps(command: click.Command, path: tuple[str, ...] = ("yak",)) -> Iterator[tuple[str, str]]:
    """Return the command line and the help of a command and of its sub-commands."""
    settings = command.context_settings
    context = click.Context(command, info_name=" ".join(path), terminal_width=80, **settings)
    yield " ".join(path), command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            yield from helps(found, (*path, name))


def messages(root: Path = ROOT, places: tuple[str, ...] = PLACES) -> Iterator[Message]:
    """Return the texts of the code, by file and line."""
    for place in places:
        files = sorted((root / place).rglob("*.py")) if (root / place).is_dir() else [root / place]
        for path in files:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            name = path.relative_to(root).as_posix()
            found = sorted(_texts(tree, "text"), key=lambda each: each[0])
            yield from (Message(name, line, kind, text) for line, kind, text in found)


def _texts(node: ast.AST, kind: str) -> Iterator[tuple[int, str, str]]:
    called = _called(node) if isinstance(node, ast.Call) else ""
    if isinstance(node, ast.Raise) or called.endswith(("Error", "Refused", "Failed")):
        kind = "error"
    elif called in LOG_CALLS and isinstance(node, ast.Call) and node.args:
        values = [f"{key.arg or '...'}={{}}" for key in node.keywords]
        yield (node.lineno, "log", " ".join([_text(node.args[0]) or "{}", *values]))
        return
    text = _text(node)
    if text is not None:
        if len(text.split()) > 1:
            yield (getattr(node, "lineno", 0), kind, text)
        return
    for child in ast.iter_child_nodes(node):
        if _is_docstring(child):
            continue
        is_message = isinstance(node, ast.Assert) and child is node.msg
        yield from _texts(child, "assertion" if is_message else kind)


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
        return "".join(map(str, parts))
    return None


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def main() -> None:
    """Print all messages as Markdown."""
    for line, text in helps(yak):
        print(f"## {line} --help\n\n{text}\n")
    path = ""
    for message in messages():
        if message.path != path:
            path = message.path
            print(f"\n## {path}\n")
        print(f"{message.line}: {message.kind}: {' '.join(message.text.split())}")


if __name__ == "__main__":
    main()
