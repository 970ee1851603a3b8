"""Golden scripts as text: parses and rewrites them.

A script is a list of blocks. A block is one or more command lines, a line ``----``, and the output
that these commands must have, up to the next empty line. Lines that begin with ``#`` above the
``----`` are comments. The first line of the file has the rules and a sentence on the behaviour.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LINES_MAX = 120
"""The limit keeps a script to one behaviour."""

RULE_LINE = "----"
TITLE = re.compile(r"# (?P<rules>R\d+(, R\d+)*)( \((?P<flaws>F\d+(, F\d+)*)\))?: (?P<says>\S.*)")


class ScriptError(Exception):
    """A script that cannot be parsed or run; the message has the line and the reason."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


@dataclass(frozen=True)
class Command:
    """One command line; the output of a ``quiet`` one, in parentheses, is dropped."""

    line: int
    words: tuple[str, ...]
    quiet: bool


@dataclass(frozen=True)
class Block:
    """Commands, and the output they must have; the output begins at ``line``."""

    commands: tuple[Command, ...]
    line: int
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Script:
    """A parsed file. ``lines`` are its original lines."""

    rules: tuple[str, ...]
    flaws: tuple[str, ...]
    says: str
    blocks: tuple[Block, ...]
    lines: tuple[str, ...]


def parse(text: str) -> Script:
    """Parse a script. Raises ScriptError with the line number of the first error."""
    lines = text.splitlines()
    title = TITLE.fullmatch(lines[0]) if lines else None
    if title is None:
        raise ScriptError(1, "a script begins with its rules and what it shows: '# R3: A ...'")
    if len(lines) > LINES_MAX:
        raise ScriptError(LINES_MAX + 1, f"a script has {LINES_MAX} lines at most")
    blocks: list[Block] = []
    commands: list[Command] = []
    at = 1
    while at < len(lines):
        line = lines[at]
        at += 1
        if line == RULE_LINE:
            if not commands:
                raise ScriptError(at, "there is no command above this ----")
            end = at
            while end < len(lines) and lines[end] != "":
                if lines[end] == RULE_LINE:
                    raise ScriptError(end + 1, "an empty line must separate two blocks")
                end += 1
            blocks.append(Block(tuple(commands), at + 1, tuple(lines[at:end])))
            commands = []
            at = end
        elif line.strip() and not line.startswith("#"):
            commands.append(_command(at, line))
    if commands:
        raise ScriptError(commands[-1].line, "there is no ---- below this command")
    if not blocks:
        raise ScriptError(len(lines), "the script has no command")
    rules = tuple(title["rules"].split(", "))
    flaws = tuple(title["flaws"].split(", ")) if title["flaws"] else ()
    return Script(rules, flaws, title["says"], tuple(blocks), tuple(lines))


def _command(line: int, text: str) -> Command:
    quiet = text.startswith("(")
    if quiet and not text.endswith(")"):
        raise ScriptError(line, "the parenthesis around this command is not closed")
    words = tuple((text[1:-1] if quiet else text).split())
    if not words:
        raise ScriptError(line, "there is no command in these parentheses")
    return Command(line, words, quiet)


Execute = Callable[[Command], list[str]]
"""Runs one command and returns its output."""


def run(script: Script, execute: Execute) -> list[list[str]]:
    """Return the output of each block, ``ok`` for none."""
    outputs: list[list[str]] = []
    for block in script.blocks:
        output: list[str] = []
        for command in block.commands:
            lines = execute(command)
            if not command.quiet:
                output += lines
        outputs.append(output or ["ok"])
    return outputs


def rewritten(script: Script, outputs: list[list[str]]) -> str:
    """Return the script's text with these outputs in place of its own."""
    lines: list[str] = []
    at = 0
    for block, output in zip(script.blocks, outputs, strict=True):
        lines += script.lines[at : block.line - 1]
        lines += output
        at = block.line - 1 + len(block.expected)
    lines += script.lines[at:]
    return "\n".join(lines).rstrip("\n") + "\n"


def difference(path: Path, script: Script, outputs: list[list[str]]) -> str:
    """Return a unified diff from the expected to the actual output, empty if equal."""
    expected = "\n".join(script.lines).rstrip("\n") + "\n"
    real = rewritten(script, outputs)
    return "".join(
        difflib.unified_diff(
            expected.splitlines(keepends=True),
            real.splitlines(keepends=True),
            f"{path.name} as it is written",
            f"{path.name} as it came out",
        )
    )
