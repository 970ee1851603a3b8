"""The table of the glossary."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Final

from docs.tables.markdown import code, table
from docs.tables.sources import ROOT
from docs.terms import protocol, worlds
from docs.terms.term import Term

TERMS: Final[tuple[Term, ...]] = tuple(
    sorted((*protocol.TERMS, *worlds.TERMS), key=lambda term: term.name.lower())
)


def glossary() -> str:
    """Return a row for each term, with links into the code."""
    rows = (
        (f"**{term.name}**", term.meaning, term.kafka, "<br>".join(map(link, term.where)))
        for term in TERMS
    )
    return table(("term", "meaning", "Kafka's name", "in the code"), rows)


def link(name: str) -> str:
    """Return a link to the file of a module, or of a name in a module.

    Raise ImportError for an unknown module, AttributeError for an unknown name.
    """
    module, attribute = located(name)
    assert module.__file__ is not None, f"{name} has no file"
    path = Path(module.__file__).relative_to(ROOT).as_posix()
    return f"[{code(attribute or name)}](../{path})"


def located(name: str) -> tuple[ModuleType, str]:
    """Return the module of a dotted name, and the rest of the name, empty for a module."""
    try:
        return importlib.import_module(name), ""
    except ModuleNotFoundError:
        parent, _, attribute = name.rpartition(".")
        module = importlib.import_module(parent)
        getattr(module, attribute)
        return module, attribute
