"""For each rule a mutant changes the output of some golden script."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from tests.golden.golden_script import Script, ScriptError, parse, run
from tests.golden.golden_words import Play
from tests.mutants import MUTANTS, PRODUCER_MUTANTS
from yak_core.ids import Epoch, Offset
from yak_core.log.epochs import EpochIndex
from yak_core.rules import Rules

SCRIPTS = Path(__file__).parent / "scripts"

PROMISED = tuple(f"R{i}" for i in (*range(13), 14, 15, 16, 17))
"""The rules that are implemented."""

SHOWN = [(name, script) for name, mutant in MUTANTS.items() for script in mutant.golden]

SECOND_GUARDS = ("confirm",)
"""Entries with an effect only if another one is replaced too; a test below shows it."""


def script(name: str) -> Script:
    return parse((SCRIPTS / f"{name}.golden").read_text(encoding="utf-8"))


def played(wanted: Script, rules: Rules) -> list[list[str]]:
    """Return the output of the script."""
    play = Play(rules)
    shown = run(wanted, play.execute)
    assert play.stage.raised == []
    return shown


def shows_otherwise(wanted: Script, rules: Rules) -> bool:
    """Return whether the output of some block differs, or a command is impossible.

    Raises AssertionError if an assertion of the core fails before that, in a step or in a broker's
    own check after it.
    """
    play = Play(rules)
    for block in wanted.blocks:
        try:
            shown = run(replace(wanted, blocks=(block,)), play.execute)
        except ScriptError:
            shown = []  # A command is impossible.
        for raised in play.stage.raised:
            assert not isinstance(raised, AssertionError), raised
        if shown != [list(block.expected)]:
            return True
    return False


@pytest.mark.parametrize(("name", "shown_by"), SHOWN)
def test_a_golden_script_changes_when_its_rule_is_replaced(name: str, shown_by: str) -> None:
    """Run the script under the mutant: its output differs, and no assertion fails."""
    assert shows_otherwise(script(shown_by), MUTANTS[name].variant)


@pytest.mark.parametrize("name", PRODUCER_MUTANTS)
def test_a_golden_script_changes_when_a_producer_is_wrong(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the script that names a flaw of the wrong producer: its output differs."""
    mutant = PRODUCER_MUTANTS[name]
    wanted = script(mutant.golden)
    assert set(mutant.flaws) & set(wanted.flaws)
    assert not shows_otherwise(wanted, Rules())
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.wrong)
    assert shows_otherwise(wanted, Rules())


def _beyond_the_end(epochs: EpochIndex, epoch: Epoch, leo: Offset) -> None:
    epochs.add(epoch, leo + 5)


def _failing(*_facts: object) -> bool:
    raise AssertionError("in a rule")


@pytest.mark.parametrize(
    ("rules", "pattern"),
    [
        (Rules(note_epoch_start=_beyond_the_end), "an epoch begins within the log"),
        (Rules(accept_ack=_failing), "in a rule"),
    ],
)
def test_a_mutant_that_fails_an_assertion_is_rejected(rules: Rules, pattern: str) -> None:
    """The test above can fail: run with a rule that fails an own check, and one that raises."""
    with pytest.raises(AssertionError, match=pattern):
        shows_otherwise(script("new_leader_records_its_epoch_start_before_it_appends"), rules)


@pytest.mark.parametrize(("name", "shown_by"), SHOWN)
def test_the_script_names_the_rule_of_its_mutant(name: str, shown_by: str) -> None:
    """The first line of the script names the rule of the mutant, and one of its flaws if any."""
    mutant, wanted = MUTANTS[name], script(shown_by)
    assert mutant.rule in wanted.rules
    assert not mutant.flaws or set(mutant.flaws) & set(wanted.flaws)


FOREIGN_EPOCH = """\
# R10: A waiter that outlived its epoch, at a broker that leads again with another record there.

(cluster 3)
(disconnect n1->n2 n1->n3)
(produce n1 a)
(settle)
(elect n2)
(produce n2 b)
(heal)
(settle)
(run until isr=n1,n2,n3)
elect n1
settle
----
"""


def test_a_request_is_confirmed_in_its_own_epoch_only() -> None:
    """R10's second guard: ``confirm`` refuses a waiter that outlives its epoch."""
    wanted = parse(FOREIGN_EPOCH)
    guarded = played(wanted, MUTANTS["request outlives its epoch"].variant)
    unguarded = played(wanted, MUTANTS["request confirmed in another epoch"].variant)
    assert not any("answers a: written" in line for block in guarded for line in block)
    assert any("answers a: written" in line for block in unguarded for line in block)


def test_the_table_is_complete() -> None:
    """Each promised rule and each entry of Rules has a mutant that changes a script or a test.

    Each entry of the table is shown by a script, an invariant or a claim.
    """
    idle = [n for n, m in MUTANTS.items() if not (m.golden or m.invariants or m.claims)]
    assert idle == ["request confirmed in another epoch"], "which a test above shows"
    shown = [mutant for mutant in MUTANTS.values() if mutant.golden]
    assert {mutant.rule for mutant in shown} == set(PROMISED)
    replaced = {entry for mutant in shown for entry in mutant.entries}
    assert replaced | set(SECOND_GUARDS) == {field.name for field in fields(Rules)}


def test_every_promised_rule_has_a_script_and_scripts_name_known_rules() -> None:
    """The first lines of all scripts, taken together, name every rule and no other."""
    named = {
        rule
        for path in SCRIPTS.glob("*.golden")
        for rule in parse(path.read_text(encoding="utf-8")).rules
    }
    assert sorted(named) == sorted(PROMISED)
    assert len(list(SCRIPTS.glob("*.golden"))) >= 30
