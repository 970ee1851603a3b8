"""Pages, help texts and messages use the field's terms, not private synonyms, and are short.

Text set as code is exempt, because names in the code may contain such words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from docs import generate, messages
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


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_the_terms_of_the_field(page: Path) -> None:
    """Goal: one word for each thing; method: search each page for private words."""
    assert private_words(page.read_text(encoding="utf-8")) == []


def test_help_texts_use_the_terms_of_the_field() -> None:
    """Goal: the same for ``--help``; method: walk through all commands."""
    texts = dict(messages.helps(main))
    assert {"yak sim run", "yak cluster up", "yak broker"} <= set(texts)
    found = {name: private_words(text) for name, text in texts.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_short_helps_fit_their_lines() -> None:
    """Goal: no description is cut off; method: search the command tables for an ellipsis."""
    cut_off = [
        line
        for _, text in messages.helps(main)
        for line in text.partition("Commands:")[2].splitlines()
        if line.endswith("...")
    ]
    assert cut_off == []


def options(command: click.Command) -> Iterator[tuple[str, str]]:
    """Return the name and the help of each option of a command and of its sub-commands."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield f"{command.name} {parameter.opts[0]}", parameter.help or ""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None, name
            yield from options(found)


def test_option_helps_are_short() -> None:
    """Goal: an option is understood at a glance; method: count the words up to the first stop."""
    found = dict(options(main))
    assert len(found) > 40
    assert {name: text for name, text in found.items() if not text} == {}
    first = {name: re.split(r"[.:;] ", text)[0] for name, text in found.items()}
    long = {name: text for name, text in first.items() if len(text.split()) > 10}
    assert long == {}


def test_messages_use_the_terms_of_the_field() -> None:
    """Goal: the same for errors, log lines and other output; method: read them from the code."""
    found = list(messages.messages())
    assert {message.kind for message in found} == {"assertion", "error", "log", "text"}
    assert len(found) > 1000
    where = [(m.path, m.line, private_words(m.text)) for m in found]
    assert [each for each in where if each[2]] == []


def test_errors_are_lower_case_without_full_stop() -> None:
    """Goal: errors can follow "yak: " and be followed by advice; method: first and last letter."""
    errors = [m for m in messages.messages() if m.kind == "error"]
    assert len(errors) > 200
    names = ("HTTP", "Redis", "Request Timeout", "Within", "The cluster converges")
    found = [
        (m.path, m.line, m.text)
        for m in errors
        if m.text.endswith(".") or (m.text[0].isupper() and not m.text.startswith(names))
    ]
    assert found == []


def test_a_private_word_is_noticed() -> None:
    """Goal: the search finds prose only; method: prose, code, a fence, a link, a longer word."""
    assert private_words("Ok.\nThe log is Cut.") == ["2: Cut; use truncate, or disconnect"]
    assert private_words("`cut`, [x](cut.md), cutting\n```\ncut\n```\n") == []
