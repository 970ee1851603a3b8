"""The glossary has the terms that the project uses, and names code that exists."""

from __future__ import annotations

import re

import pytest

from docs.tables.glossary import TERMS, link, located
from docs.terms import protocol, worlds
from docs.terms.term import Term
from tests.tidy.tree import PACKAGES, PRODUCT, sources

WORDS_MAX = 25
USED = {*PRODUCT, "docs", "README.md", "tests"}
NOT_USES = ("docs/glossary.md", "docs/terms/")


def forms(term: Term) -> list[str]:
    """The spellings of a term: ``high watermark (HW)`` has two."""
    return [form.strip(" )") for form in term.name.split("(")]


def test_every_term_is_used_elsewhere() -> None:
    """Goal: no term outlives its use; method: search all docs and sources, without this table."""
    texts = [
        " ".join(source.text.split()).lower()
        for source in sources()
        if source.top in USED and not source.name.startswith(NOT_USES)
    ]
    whole = "\n".join(texts)
    unused = [
        form
        for term in TERMS
        for form in forms(term)
        if not re.search(rf"\b{re.escape(form.lower())}", whole)
    ]
    assert unused == []


def test_terms_are_sorted_and_unique() -> None:
    """Goal: a term is found at once; method: compare each table with its sorted names."""
    for table in (protocol.TERMS, worlds.TERMS, TERMS):
        names = [term.name.lower() for term in table]
        assert names == sorted(set(names))


def test_every_meaning_is_plain() -> None:
    """Goal: one reading is enough; method: count the sentences and their words."""
    for term in TERMS:
        sentences = re.split(r"(?<=\.) (?=[A-Z])", term.meaning)
        assert len(sentences) <= 2, term.name
        assert all(len(each.split()) <= WORDS_MAX for each in sentences), term.name
        assert term.meaning.endswith("."), term.name


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_the_code_of_a_term_exists(term: Term) -> None:
    """Goal: each link leads to code; method: import the module, get the name."""
    assert term.where
    for name in term.where:
        assert name.split(".")[0] in {*PACKAGES, "tests"}
        assert link(name).startswith("[`")


def test_a_missing_name_is_noticed() -> None:
    """Goal: the test above can fail; method: a module and a name that do not exist."""
    with pytest.raises(ModuleNotFoundError):
        located("yak_core.nowhere.Leader")
    with pytest.raises(AttributeError):
        located("yak_core.broker.leader.Missing")
