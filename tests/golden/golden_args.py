"""The arguments of a golden command: plain words, options, links, durations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.golden.golden_script import Command, ScriptError
from yak_core.ids import Micros, NodeId

UNITS: Final = {"ms": 1_000, "s": 1_000_000}


class Args:
    """The words of one command after its name: plain ones in order, and key=value options."""

    def __init__(self, command: Command) -> None:
        self.line = command.line
        self.plain: list[str] = []
        self.options: dict[str, str] = {}
        for word in command.words[1:]:
            key, equals, value = word.partition("=")
            if equals and key.isidentifier():
                self.options[key] = value
            else:
                self.plain.append(word)

    def error(self, reason: str) -> ScriptError:
        """Return an error of this command."""
        return ScriptError(self.line, reason)

    def next(self, what: str) -> str:
        """Return the next plain word."""
        if not self.plain:
            raise self.error(f"{what} is missing")
        return self.plain.pop(0)

    def rest(self) -> list[str]:
        """Return the remaining plain words."""
        rest, self.plain = self.plain, []
        return rest

    def option(self, key: str, default: str) -> str:
        """Return the option's value."""
        return self.options.pop(key, default)

    def number(self, key: str, default: int) -> int:
        """Return the option's value as an integer."""
        value = self.option(key, str(default))
        if not re.fullmatch(r"-?\d+", value):
            raise self.error(f"{key}={value} is not a number")
        return int(value)

    def choice(self, key: str, default: str, among: dict[str, int]) -> int:
        """Return the number for the option's value, one of a few words."""
        value = self.option(key, default)
        if value not in among:
            raise self.error(f"{key}={value} is not one of {', '.join(among)}")
        return among[value]

    def finish(self) -> None:
        """Check that every word was used."""
        left = [*self.plain, *(f"{key}={value}" for key, value in self.options.items())]
        if left:
            raise self.error(f"unknown arguments: {' '.join(left)}")

    def duration(self, word: str) -> Micros:
        """Return a duration such as ``500ms`` or ``3s`` in microseconds."""
        found = re.fullmatch(r"(\d+)(ms|s)", word)
        if found is None:
            raise self.error(f"{word} is not a duration such as 500ms or 3s")
        return int(found[1]) * UNITS[found[2]]

    def link(self) -> tuple[NodeId, NodeId]:
        """Return the link of the next word, ``n1->n2``."""
        word = self.next("a link such as n1->n2")
        src, arrow, dst = word.partition("->")
        if not arrow:
            raise self.error(f"{word} is not a link such as n1->n2")
        return src, dst

    def links(self) -> Iterator[tuple[NodeId, NodeId]]:
        """Yield the links of the remaining words, ``n1->n2`` or both ways ``n1<->n2``."""
        for word in self.rest():
            found = re.fullmatch(r"(\w+)(<)?->(\w+)", word)
            if found is None:
                raise self.error(f"{word} is not a link such as n1->n2 or n1<->store")
            yield found[1], found[3]
            if found[2]:
                yield found[3], found[1]
        self.finish()
