"""The messages of docs/runbook.md by section, and the table of them at its top.

In the page, each section has its messages in a block of the kind ``text``, one message a paragraph,
and its commands in blocks of the kind ``sh``, one a line. Words in capitals stand for values.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from docs.tables.markdown import code, table
from docs.tables.sources import ROOT

PAGE: Final = ROOT / "docs" / "runbook.md"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER: Final = re.compile(r"\b(?!(?:YAK|ISR|ELR|URL)\b)[A-Z]{2,}\b")
_TEXTS: Final = {"ADDRESS", "ERROR", "MEMBERS", "NODES", "REASON", "STORE", "TEXT", "WHAT"}
"""Placeholders whose values may contain spaces."""


class Section(NamedTuple):
    """A section of the page: its chapter, its heading, and its messages and commands."""

    chapter: str
    title: str
    messages: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """The anchor of the heading."""
        return self.title.lower().replace(" ", "-").replace(",", "")


def blocks_of(text: str) -> list[tuple[str, str]]:
    """Return the kind and the body of each block of code in a Markdown text."""
    return _BLOCK.findall(text)


def sections(text: str) -> list[Section]:
    """Return the sections of the page, in their order."""
    found: list[Section] = []
    for chapter in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, *parts = re.split(r"^### ", chapter, flags=re.MULTILINE)
        for part in parts:
            blocks = blocks_of(part)
            paragraphs = [
                each for kind, body in blocks if kind == "text" for each in body.split("\n\n")
            ]
            commands = [each for kind, body in blocks if kind == "sh" for each in body.splitlines()]
            found.append(
                Section(
                    name.partition("\n")[0],
                    part.partition("\n")[0],
                    tuple(" ".join(each.split()) for each in paragraphs),
                    tuple(commands),
                )
            )
    return found


def pattern_of(message: str) -> re.Pattern[str]:
    """Return a pattern that finds a message of the page, with its values, in an output.

    The values of the first placeholder of each name are groups with the name of the placeholder.
    """
    parts: list[str] = []
    at = 0
    names: set[str] = set()
    for found in _PLACEHOLDER.finditer(message):
        parts.append(re.escape(message[at : found.start()]))
        name = found[0]
        value = ".+?" if name in _TEXTS else r"\S+?"
        parts.append(f"(?P<{name}>{value})" if name not in names else value)
        names.add(name)
        at = found.end()
    end = re.escape(message[at:])
    return re.compile("".join(parts) + (end or r"(?=$|[;,\n])"), re.MULTILINE)


def messages_table() -> str:
    """Return the table: the beginning of each message, and its section."""
    rows = [
        (code(message.partition(";")[0]), f"[{section.title}](#{section.anchor})")
        for section in sections(PAGE.read_text(encoding="utf-8"))
        for message in section.messages
    ]
    return table(("message", "section"), dict.fromkeys(rows))
