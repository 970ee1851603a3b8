"""Every rule matters: for each, a naive variant changes what some golden script shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from tests.golden.golden_script import Script, ScriptError, parse, run
from tests.golden.golden_words import Play
from yak_core import rules as correct
from yak_core.batch import Batch
from yak_core.contract.messages import Replicate
from yak_core.ids import Micros, NodeId, Offset
from yak_core.log.epochs import EpochIndex
from yak_core.log.producers import ProducerEntry, ProducerTable
from yak_core.rules import (
    ElectionFacts,
    JoinFacts,
    ReplicateDecision,
    Rules,
    SequenceCheck,
    SequenceResult,
)

SCRIPTS = Path(__file__).parent / "scripts"

PROMISED = tuple(f"R{i}" for i in (*range(13), 14, 15, 16, 17))
"""The rules of this stage of the project."""


def truncate_at_high_watermark(
    epochs: EpochIndex, leo: Offset, hw: Offset, first_of_epoch: bool, message: Replicate
) -> Offset:
    return hw if first_of_epoch else leo


def truncate_before_comparing(epochs: EpochIndex, leo: Offset, message: Replicate) -> Offset:
    return min(leo, message.prev_offset) if message.batches else leo


def committed_isr_only(
    hw: Offset,
    committed: tuple[NodeId, ...],
    maximal: tuple[NodeId, ...],
    positions: Mapping[NodeId, Offset],
    min_isr: int,
) -> Offset:
    return correct.advance_high_watermark(hw, committed, committed, positions, min_isr)


def without_min_isr(
    hw: Offset,
    committed: tuple[NodeId, ...],
    maximal: tuple[NodeId, ...],
    positions: Mapping[NodeId, Offset],
    min_isr: int,
) -> Offset:
    return correct.advance_high_watermark(hw, committed, maximal, positions, 0)


def lag_by_count(
    now: Micros, caught_up_at: Micros, match: Offset, leo: Offset, lag: Micros
) -> bool:
    return leo - match > 10


def join_at_high_watermark(view: JoinFacts) -> bool:
    return correct.may_join(replace(view, epoch_start=0))


def join_below_min_isr(view: JoinFacts) -> bool:
    return correct.may_join(replace(view, in_time=True))


def remember_one_batch(known: ProducerEntry | None, batch: Batch) -> SequenceCheck:
    if known is not None:
        known = ProducerEntry(known.epoch, known.batches[-1:])
    return correct.accept_sequence(known, batch)


def accept_any_sequence(known: ProducerEntry | None, batch: Batch) -> SequenceCheck:
    return SequenceCheck(SequenceResult.ACCEPT)


def keep_after_truncation(
    rebuilt: Callable[[], ProducerTable], current: ProducerTable
) -> ProducerTable:
    return current


def stand_when_silent(view: ElectionFacts) -> bool:
    return view.in_isr or view.in_elr


@dataclass(frozen=True)
class Naive:
    """One entry of Rules replaced by what a beginner would write, and the script that shows it."""

    rule: str
    entry: str
    instead: object
    script: str


NAIVE = (
    Naive("R0", "is_newer", lambda known, seen: seen != known, "late_record_changes_nothing"),
    Naive(
        "R1",
        "is_superseded",
        lambda recorded, mine: False,
        "another_process_with_this_id_ends_this_one",
    ),
    Naive(
        "R2",
        "note_epoch_start",
        lambda epochs, epoch, leo: None,
        "new_leader_notes_its_start_before_it_writes",
    ),
    Naive(
        "R3",
        "truncation_point",
        truncate_at_high_watermark,
        "follower_truncates_what_disagrees_not_by_high_watermark",
    ),
    Naive(
        "R3",
        "accept_replicate",
        lambda my_epoch, my_leader, epoch, leader: ReplicateDecision.ACCEPT,
        "follower_refuses_an_epoch_that_is_over",
    ),
    Naive(
        "R3", "conflict_point", truncate_before_comparing, "follower_compares_before_it_truncates"
    ),
    Naive("R3", "ack_position", lambda verified, leo: leo, "ack_names_what_was_verified"),
    Naive(
        "R3",
        "follower_high_watermark",
        lambda hw, leader_hw, verified, leo: max(hw, min(leader_hw, leo)),
        "follower_bounds_its_hw_by_what_it_verified",
    ),
    Naive(
        "R4",
        "accept_ack",
        lambda leader_epoch, ack_epoch: True,
        "ack_of_another_epoch_does_not_count",
    ),
    Naive(
        "R4",
        "progress_survives",
        lambda known, seen: True,
        "earlier_life_of_a_follower_counts_for_nothing",
    ),
    Naive("R5", "advance_high_watermark", committed_isr_only, "hw_waits_for_a_proposed_member"),
    Naive("R5", "advance_high_watermark", without_min_isr, "hw_stands_still_below_min_isr"),
    Naive("R6", "in_lag", lag_by_count, "lag_is_measured_in_time"),
    Naive("R7", "may_join", join_at_high_watermark, "follower_joins_at_the_start_of_the_epoch"),
    Naive("R7", "may_join", join_below_min_isr, "below_min_isr_a_follower_joins_when_caught_up"),
    Naive(
        "R8",
        "after_unknown",
        lambda kind: "forget",
        "proposal_without_an_answer_may_have_happened",
    ),
    Naive("R9", "accept_sequence", remember_one_batch, "five_batches_in_flight_are_remembered"),
    Naive("R9", "accept_sequence", accept_any_sequence, "batch_that_overtook_another_is_refused"),
    Naive(
        "R9",
        "producers_after_truncation",
        keep_after_truncation,
        "truncated_batch_is_forgotten_by_its_producer_table",
    ),
    Naive(
        "R9",
        "producers_of_new_leader",
        lambda followed: ProducerTable(),
        "new_leader_recognises_retries",
    ),
    Naive(
        "R10", "survives_step_down", lambda acks: True, "waiting_request_does_not_outlive_its_epoch"
    ),
    Naive("R11", "readable_end", lambda hw, leo: leo, "reader_sees_committed_records_only"),
    Naive(
        "R11",
        "diverged",
        lambda epochs, leo, offset, last_epoch: -1,
        "reader_is_told_when_its_position_diverged",
    ),
    Naive(
        "R12",
        "latest_offset",
        lambda hw, epoch_start: hw,
        "latest_offset_waits_for_the_epochs_start",
    ),
    Naive("R14", "may_campaign", stand_when_silent, "outage_of_the_store_deposes_nobody"),
    Naive(
        "R15",
        "serves_acks",
        lambda acks, now, deadline: True,
        "leader_past_its_lease_takes_acks_all_only",
    ),
    Naive(
        "R16",
        "must_step_down",
        lambda my_epoch, seen_epoch: False,
        "leader_steps_down_on_a_higher_epoch",
    ),
    Naive("R17", "is_clean", lambda view: True, "unclean_restart_leaves_isr_and_elr"),
    Naive("R17", "is_clean", lambda view: True, "clean_marker_is_used_up_first"),
)

SECOND_GUARDS = ("confirm",)
"""Entries that matter once another is replaced as well; a test below shows how."""


def script(name: str) -> Script:
    return parse((SCRIPTS / f"{name}.golden").read_text(encoding="utf-8"))


def played(wanted: Script, rules: Rules) -> list[list[str]]:
    """What the script shows; a command that has become impossible is shown as such."""
    play = Play(rules)
    stopped: list[str] = []

    def execute(command: object) -> list[str]:
        if stopped:
            return stopped
        try:
            return play.execute(command)  # type: ignore[arg-type]
        except ScriptError as error:
            stopped.append(f"impossible: {error}")
            return stopped

    return run(wanted, execute)


@pytest.mark.parametrize(
    "naive", NAIVE, ids=lambda naive: f"{naive.rule}-{naive.entry}-{naive.script}"
)
def test_a_golden_script_changes_when_its_rule_is_replaced(naive: Naive) -> None:
    """Play the script under the naive rule: it must show something else than it does now."""
    wanted = script(naive.script)
    right = played(wanted, Rules())
    assert right == [list(block.expected) for block in wanted.blocks]
    wrong = played(wanted, replace(Rules(), **{naive.entry: naive.instead}))  # type: ignore[arg-type]
    assert wrong != right


@pytest.mark.parametrize(
    "naive", NAIVE, ids=lambda naive: f"{naive.rule}-{naive.entry}-{naive.script}"
)
def test_the_script_says_that_it_is_about_that_rule(naive: Naive) -> None:
    """The rule stands in the first line of the script that the table names for it."""
    assert naive.rule in script(naive.script).rules


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
    """R10's second guard: were a waiter to outlive its epoch, ``confirm`` would still refuse it."""
    wanted = parse(FOREIGN_EPOCH)
    survives = replace(Rules(), survives_step_down=lambda acks: True)
    guarded = played(wanted, survives)
    unguarded = played(wanted, replace(survives, confirm=lambda waiting, epoch, end, hw: hw >= end))
    assert not any("answers a: written" in line for block in guarded for line in block)
    assert any("answers a: written" in line for block in unguarded for line in block)


def test_the_table_is_complete() -> None:
    """Every promised rule has a row, and every entry of Rules is replaced by some row or test."""
    assert sorted({naive.rule for naive in NAIVE}) == sorted(PROMISED)
    entries = {field.name for field in fields(Rules)}
    assert {naive.entry for naive in NAIVE} | set(SECOND_GUARDS) == entries


def test_every_promised_rule_has_a_script_and_scripts_name_known_rules() -> None:
    """The first lines of all scripts, taken together, name every rule and no other."""
    named = {
        rule
        for path in SCRIPTS.glob("*.golden")
        for rule in parse(path.read_text(encoding="utf-8")).rules
    }
    assert sorted(named) == sorted(PROMISED)
    assert len(list(SCRIPTS.glob("*.golden"))) >= 30
