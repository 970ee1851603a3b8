"""One term of the glossary."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A term with its meaning.

    ``where`` are dotted names of modules, classes, functions or constants. ``kafka`` is Kafka's
    name; empty if it is the same.
    """

    name: str
    meaning: str
    where: tuple[str, ...]
    kafka: str


def term(name: str, meaning: str, *where: str, kafka: str = "") -> Term:
    """Return a term; its name may end with a short form in parentheses."""
    return Term(name, meaning, where, kafka)
