"""README, the pages in docs/ and the help texts use the field's terms, not private synonyms.

Text set as code is exempt, because names in the code may contain such words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from docs import generate
from tests.tidy.tree import ROOT
from yak_cli import main

PRIVATE: Final = {
    "beat": "lease renewal",
    "beats": "lease renewals",
    "cut": "truncate, or disconnect",
    "cuts": "truncates, or disconnects",
    "gives back": "returns",
    "is over": "has ended, or has expired",
    "nobody": "no broker, or no client",
    "remark": "note",
    "remarks": "notes",
    "somebody": "a broker, or a client",
    "stand": "campaign, or be",
    "standing": "campaign, or being",
    "stands": "campaigns, or is",
    "stories": "runs, or scenarios",
    "story": "run, or scenario",
    "tell": "send, report, or show",
    "tells": "sends, reports, or shows",
    "time-out": "timeout",
    "told": "receives, or is sent",
    "whoever": "the broker, or the client",
}
"""Private word -> the words to use."""

WORD: Final = re.compile(rf"\b({'|'.join(PRIVATE)})\b", re.IGNORECASE)
CODE: Final = re.compile(
    r"^```.*?^```|`[^`\n]+`|\]\([^)\s]+\)|<!--.*?-->", re.MULTILINE | re.DOTALL
)


def private_words(text: str) -> list[str]:
    """Return ``line: word; use ...`` for each private word outside of code."""
    prose = CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    return [
        f"{number}: {word}; use {PRIVATE[word.lower()]}"
        for number, line in enumerate(prose.splitlines(), 1)
        for word in WORD.findall(line)
    ]


def help_texts(command: click.Command, name: str = "yak") -> Iterator[tuple[str, str]]:
    """Yield the name and the help text of a command and of all its sub-commands."""
    context = click.Context(command, info_name=name)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            assert found is not None, word
            yield from help_texts(found, f"{name} {word}")


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_the_terms_of_the_field(page: Path) -> None:
    """Goal: one word for each thing; method: search each page for private words."""
    assert private_words(page.read_text(encoding="utf-8")) == []


def test_help_texts_use_the_terms_of_the_field() -> None:
    """Goal: the same for ``--help``; method: walk through all commands."""
    texts = dict(help_texts(main))
    assert {"yak sim run", "yak cluster up", "yak broker"} <= set(texts)
    found = {name: private_words(text) for name, text in texts.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_private_word_is_noticed() -> None:
    """Goal: the search finds prose only; method: prose, code, a fence, a link, a longer word."""
    assert private_words("Ok.\nThe log is Cut.") == ["2: Cut; use truncate, or disconnect"]
    assert private_words("`cut`, [x](cut.md), cutting\n```\ncut\n```\n") == []
