"""docs/runbook.md has a section for each reason of a halt, of a failed start and of no leader.

Method: the reasons are read from the code (reasons.py), and compared with the messages of the page
in both directions.
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from docs.tables import runbook
from tests.tidy.reasons import ELSEWHERE, NOT_SHOWN, PASSED_ON, Reason, reasons, reasons_in
from tests.tidy.test_docs import slug
from tests.tidy.tree import ROOT

PAGE: Final = runbook.PAGE.read_text(encoding="utf-8")
SECTIONS: Final = runbook.sections(PAGE)
MESSAGES: Final = [message for section in SECTIONS for message in section.messages]
PLACEHOLDERS: Final = re.compile(r"\b[A-Z]{2,}\b")
WITHOUT_MESSAGE: Final = {"Invalid settings"}
POINTER: Final = re.compile(r"docs/runbook\.md#([\w-]+)")


def messages_for(reason: Reason) -> list[str]:
    """Return the messages of the page that contain the reason, or that the reason is one of."""
    return [message for message in MESSAGES if agree(reason, message)]


def agree(reason: Reason, message: str) -> bool:
    """Return whether the message contains the reason, or is a less specific form of it."""
    if reason.pattern.search(message):
        return True
    pattern = runbook.pattern_of(message.removeprefix("FILE: "))
    is_specific = len(PLACEHOLDERS.sub("", message).split()) >= 4
    return is_specific and pattern.search(reason.text.replace("{}", "0")) is not None


def test_each_reason_has_a_section() -> None:
    """Goal: an operator finds each message on the page."""
    found = [each for each in reasons() if each.text and each.text not in NOT_SHOWN]
    assert len(found) > 70
    assert [str(each) for each in found if not messages_for(each)] == []


def test_each_message_is_one_of_the_code() -> None:
    """Goal: the page has no message that YAK does not write any more."""
    found = [each for each in reasons() if each.text]
    assert [text for text in MESSAGES if not any(agree(each, text) for each in found)] == []
    assert len(set(MESSAGES)) == len(MESSAGES)


def test_reasons_that_are_passed_on_are_known() -> None:
    """Goal: a new call of ``halt`` without a text is noticed, so that its reasons are found."""
    found: dict[str, list[str]] = {}
    for each in reasons():
        if not each.text:
            found.setdefault(each.path, []).append(each.source)
    assert {path: sorted(each) for path, each in found.items()} == {
        path: sorted(each) for path, each in PASSED_ON.items()
    }
    texts = {each.text for each in reasons()}
    assert set(NOT_SHOWN) <= texts
    assert all((ROOT / path).exists() for path in ELSEWHERE)


@pytest.mark.parametrize(
    "line",
    [
        'self.owner.halt(f"the moon is in {phase}")',
        'raise CannotStart("the moon is full; wait")',
        'self._call_on_loop(self._on_fatal, f"the moon {name} fell")',
    ],
)
def test_a_new_reason_is_noticed(line: str) -> None:
    """Goal: the comparison fails for a reason without a section."""
    [reason] = reasons_in("yak_net/broker/moon.py", line)
    assert messages_for(reason) == []


def test_each_section_has_a_cause_and_commands() -> None:
    """Goal: all sections have the same parts, and each heading is another one."""
    titles = [section.title for section in SECTIONS]
    assert len(set(titles)) == len(titles)
    assert [each.title for each in SECTIONS if each.anchor != slug(each.title)] == []
    assert {each.title for each in SECTIONS if not each.messages} == WITHOUT_MESSAGE
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        assert "**Cause.**" in part, part[:40]
        assert re.search(r"^\*\*(Commands|What helps)\.\*\*", part, re.MULTILINE), part[:40]


def test_named_sections_exist() -> None:
    """Goal: a message that names a section leads there; method: each anchor in the code."""
    named = {
        anchor
        for folder in ("yak_core", "yak_net")
        for path in (ROOT / folder).rglob("*.py")
        for anchor in POINTER.findall(path.read_text(encoding="utf-8"))
    }
    assert named <= {section.anchor for section in SECTIONS}
    assert len(named) >= 3
