"""Golden scripts as text: reads and rewrites them; must never know what a command means.

A script is a list of blocks. A block is one or more command lines, a line ``----``, and the output
that these commands must have, up to the next empty line. Lines that begin with ``#`` above the
``----`` are remarks. The first line of the file names the rules that it is about and says in one
sentence what it shows.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LINES_MAX = 120
"""A script that is longer shows more than one behaviour."""

RULE_LINE = "----"
TITLE = re.compile(r"# (?P<rules>R\d+(, R\d+)*)( \((?P<flaws>F\d+(, F\d+)*)\))?: (?P<says>\S.*)")


class ScriptError(Exception):
    """A script that cannot be understood or carried out; the message says where and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


@dataclass(frozen=True)
class Command:
    """One command line; a ``quiet`` one, in parentheses, is carried out and shows nothing."""

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
    """A parsed file. ``lines`` are its lines as they were read."""

    rules: tuple[str, ...]
    flaws: tuple[str, ...]
    says: str
    blocks: tuple[Block, ...]
    lines: tuple[str, ...]


def parse(text: str) -> Script:
    """Read a script. Raises ScriptError with the line number of the first mistake."""
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
"""Carries out one command and returns its output."""


def run(script: Script, execute: Execute) -> list[list[str]]:
    """The output of each block; ``ok`` where there is none."""
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
    """The script's text with these outputs in place of those that it has."""
    lines: list[str] = []
    at = 0
    for block, output in zip(script.blocks, outputs, strict=True):
        lines += script.lines[at : block.line - 1]
        lines += output
        at = block.line - 1 + len(block.expected)
    lines += script.lines[at:]
    return "\n".join(lines).rstrip("\n") + "\n"


def difference(path: Path, script: Script, outputs: list[list[str]]) -> str:
    """A unified diff from the expected to the real output, empty when they are equal."""
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
