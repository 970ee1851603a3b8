"""The mutants: wrong decisions of brokers and producers, and the tests that detect each.

``MUTANTS`` are variants of ``Rules`` with one wrong decision. Golden scripts, random walks, the
simulator and the scenarios select from this table, by a column or by name. In these tests no mutant
may fail an assertion of the core: assertions are for coding errors, and tests check the decisions
of rules. ``PRODUCER_MUTANTS`` replace a method of the producer, whose decisions are no rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

from yak_core import rules as right
from yak_core.clients.delivery import Delivery
from yak_core.clients.producer import Producer
from yak_core.contract.effects import Observe
from yak_core.contract.notes import ProducerReset
from yak_core.ids import Micros, Offset
from yak_core.log.producers import ProducerEntry, ProducerTable
from yak_core.rules import AfterUnknown, ReplicateDecision, Rules, SequenceCheck, SequenceResult


@dataclass(frozen=True)
class Mutant:
    """A wrong variant of the rules; an empty column means that no such test uses the mutant."""

    rule: str
    """The protocol's rule that the variant breaks, R0 to R17."""
    flaws: tuple[str, ...]
    """Numbers of docs/flaws.md; empty for a mistake that has no number."""
    variant: Rules
    golden: tuple[str, ...] = ()
    """Golden scripts with another output under the variant."""
    invariants: tuple[str, ...] = ()
    """Invariants of the decision: one of them breaks in walks and in the simulator."""
    seed: int = 0
    """First seed of the simulator that broke an invariant; it only saves time."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Scenario -> its claim that fails under the variant, with the invariants switched off."""

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the entries of ``Rules`` that the variant replaces."""
        return tuple(
            entry.name
            for entry in fields(Rules)
            if getattr(self.variant, entry.name) is not entry.default
        )


def _always(*_facts: object) -> bool:
    return True


def _never(*_facts: object) -> bool:
    return False


def _lag_by_count(records_max: int) -> Callable[[Micros, Micros, Offset, Offset, Micros], bool]:
    return lambda now, caught_up_at, match, leo, lag_us: leo - match > records_max


MUTANTS: dict[str, Mutant] = {
    "any other record is newer": Mutant("R0", ("F59",),
        Rules(is_newer=lambda known, seen: seen != known),
        golden=("late_partition_state_is_ignored",)),
    "never superseded": Mutant("R1", (),
        Rules(is_superseded=_never),
        golden=("broker_halts_when_its_id_is_registered_again",)),
    "epoch start not noted": Mutant("R2", ("F04",),
        Rules(note_epoch_start=lambda epochs, epoch, leo: None),
        golden=("new_leader_records_its_epoch_start_before_it_appends",)),
    # The log is truncated once in an epoch, and by nothing but the high watermark.
    "truncate by HW only": Mutant("R3", ("F01",),
        Rules(truncation_point=lambda epochs, leo, hw, first_of_epoch, message: (
            hw if first_of_epoch else leo
        )),
        golden=("follower_truncates_by_epochs_not_by_high_watermark",),
        claims={"leader_failover": "records are truncated after"}),
    # Kafka before KIP-101.
    "truncate by HW": Mutant("R3", ("F01",),
        Rules(truncation_point=lambda epochs, leo, hw, first_of_epoch, message: (
            hw if first_of_epoch
            else right.truncation_point(epochs, leo, hw, first_of_epoch, message)
        )),
        invariants=("NoCutBelowCommitted",), seed=3),
    "no truncation": Mutant("R3", (),
        Rules(
            truncation_point=lambda epochs, leo, hw, first_of_epoch, message: leo,
            conflict_point=lambda epochs, leo, message: leo),
        claims={
            "acks_compared": "The crash loses no record with acks=all",
            "divergent_logs": "the others truncate",
            "leader_cut_off": "The logs converge",
            "leader_failover": "records are truncated after",
            "zombie_leader": "that only it had appended",
        }),
    # Kafka's followers append what they fetch, and rely on the truncation at the epoch's start.
    "any position matches": Mutant("R3", ("F03",),
        Rules(log_matches=_always),
        golden=("leader_probes_back_to_where_the_logs_agree",),
        invariants=("AckIsVerified",), seed=74),
    "truncate before comparing": Mutant("R3", ("F11",),
        Rules(conflict_point=lambda epochs, leo, message: (
            min(leo, message.prev_offset) if message.batches else leo
        )),
        golden=("follower_compares_before_it_truncates",)),
    "accept any Replicate": Mutant("R3", ("F39",),
        Rules(accept_replicate=lambda mine, my_leader, epoch, leader: ReplicateDecision.ACCEPT),
        golden=("follower_fences_a_stale_epoch",)),
    # A newer epoch is still adopted; a second leader of the own epoch is accepted as well.
    "accept any Replicate up to the own epoch": Mutant("R3", ("F39", "F81"),
        Rules(accept_replicate=lambda mine, my_leader, epoch, leader: (
            ReplicateDecision.ACCEPT if epoch <= mine else ReplicateDecision.ADOPT
        )),
        golden=("follower_fences_a_stale_epoch",),
        claims={"zombie_leader": "is fenced"}),
    # Neither the epoch of a message nor, against R4, that of an ack is compared.
    "no epoch fencing": Mutant("R3", ("F39", "F40"),
        Rules(
            accept_replicate=lambda mine, my_leader, epoch, leader: (
                ReplicateDecision.ACCEPT if epoch < mine
                else right.accept_replicate(mine, my_leader, epoch, leader)
            ),
            accept_ack=_always),
        invariants=("StaleMessageIgnored", "NoCutBelowCommitted", "ProgressIsEvidence"), seed=33),
    "ack own LEO": Mutant("R3", ("F10",),
        Rules(ack_position=lambda verified, leo: leo),
        golden=("ack_carries_the_verified_offset",),
        invariants=("AckIsVerified",), seed=58),
    "follower's HW up to its LEO": Mutant("R3", ("F08",),
        Rules(follower_high_watermark=lambda hw, leader_hw, verified, leo: (
            max(hw, min(leader_hw, leo))
        )),
        golden=("follower_hw_is_limited_to_the_verified_offset",)),
    "accept any ack": Mutant("R4", ("F40",),
        Rules(accept_ack=_always),
        golden=("ack_of_another_epoch_is_ignored",)),
    "progress across incarnations": Mutant("R4", ("F22",),
        Rules(progress_survives=_always),
        golden=("leader_resets_progress_of_a_restarted_follower",),
        invariants=("ProgressIsEvidence", "IsrAdmission"), seed=2),
    # A proposed member does not count for the high watermark, as before KIP-497.
    "committed ISR only": Mutant("R5", ("F15",),
        Rules(advance_high_watermark=lambda hw, committed, maximal, positions, min_isr: (
            right.advance_high_watermark(hw, committed, committed, positions, min_isr)
        )),
        golden=("hw_waits_for_a_proposed_member",),
        invariants=("HwJustified",), seed=16),
    "commit below min ISR": Mutant("R5", ("F26",),
        Rules(advance_high_watermark=lambda hw, committed, maximal, positions, min_isr: (
            right.advance_high_watermark(hw, committed, maximal, positions, 0)
        )),
        golden=("hw_does_not_advance_below_min_isr",),
        claims={"min_isr_bill": "No record is acknowledged"}),
    "commit what one replica has": Mutant("R5", (),
        Rules(advance_high_watermark=lambda hw, committed, maximal, positions, min_isr: (
            max([hw, *positions.values()])
        )),
        claims={
            "acks_compared": "acks=all waits for the followers",
            "divergent_logs": "Nothing acknowledged is lost",
            "leader_cut_off": "commits nothing, and acknowledges only acks=1",
            "leader_failover": "Only committed records are acknowledged",
            "slow_follower": "The high watermark does not advance",
            "zombie_leader": "appends records and acknowledges none",
        }),
    "lag of more than ten records": Mutant("R6", ("F32",),
        Rules(in_lag=_lag_by_count(10)),
        golden=("lag_is_measured_in_time",)),
    "lag of more than two records": Mutant("R6", ("F32",),
        Rules(in_lag=_lag_by_count(2)),
        claims={"slow_follower": "The high watermark does not advance"}),
    "never in lag": Mutant("R6", (),
        Rules(in_lag=_never),
        claims={
            "asymmetric_partition": "The ISR becomes n1, n2",
            "slow_follower": "has left the ISR",
        }),
    # The high watermark is enough to join the ISR, as before KAFKA-7128.
    "expand before the epoch's start": Mutant("R7", ("F14",),
        Rules(may_join=lambda view: right.may_join(replace(view, epoch_start=0))),
        golden=("follower_joins_when_it_reaches_the_epoch_start",),
        invariants=("IsrAdmission",), seed=59),
    "join below min ISR while behind": Mutant("R7", ("F31",),
        Rules(may_join=lambda view: right.may_join(replace(view, caught_up=True))),
        golden=("below_min_isr_a_follower_joins_when_caught_up",)),
    "timeout treated as failure": Mutant("R8", ("F18",),
        Rules(after_unknown=lambda kind: AfterUnknown.FORGET),
        golden=("proposal_without_a_reply_may_have_been_applied",),
        invariants=("PendingKept",)),
    "remember one batch": Mutant("R9", ("F68",),
        Rules(accept_sequence=lambda known, batch: right.accept_sequence(
            known and ProducerEntry(known.epoch, known.batches[-1:]), batch
        )),
        golden=("five_batches_in_flight_are_remembered",)),
    "accept any sequence": Mutant("R9", ("F66", "F67"),
        Rules(accept_sequence=lambda known, batch: SequenceCheck(SequenceResult.ACCEPT)),
        golden=("out_of_order_batch_is_refused",),
        claims={
            "full_disk": "read exactly what was sent",
            "slow_follower": "No batch is in the log twice",
            "two_producers_one_id": "The producer with the older epoch is fenced",
        }),
    # Kafka before KIP-360 has the same code for both.
    "unknown producer is a gap": Mutant("R9", ("F75",),
        Rules(accept_sequence=lambda known, batch: (
            SequenceCheck(SequenceResult.GAP) if known is None and batch.base_sequence
            else right.accept_sequence(known, batch)
        )),
        golden=("forgotten_producer_starts_a_new_epoch",)),
    # A later batch that overtakes the first one is appended before it.
    "unknown producer starts anywhere": Mutant("R9", ("F67", "F75"),
        Rules(accept_sequence=lambda known, batch: (
            SequenceCheck(SequenceResult.ACCEPT) if known is None
            else right.accept_sequence(known, batch)
        )),
        golden=("forgotten_producer_starts_a_new_epoch",)),
    "producer table not rebuilt": Mutant("R9", ("F70",),
        Rules(producers_after_truncation=lambda rebuilt, current: current),
        golden=("truncated_batch_is_removed_from_the_idempotence_table",),
        invariants=("ProducerTableIsFold",)),
    "new leader knows no producer": Mutant("R9", ("F69",),
        Rules(producers_of_new_leader=lambda followed: ProducerTable()),
        golden=("new_leader_recognises_retries",),
        claims={"idempotent_retry": "The new leader recognises each retry"}),
    "request outlives its epoch": Mutant("R10", ("F58",),
        Rules(survives_step_down=_always),
        golden=("pending_requests_fail_when_the_leader_steps_down",)),
    # ``confirm`` matters only for a request that outlives its epoch.
    "request confirmed in another epoch": Mutant("R10", ("F58",),
        Rules(survives_step_down=_always, confirm=lambda waiting, epoch, end, hw: hw >= end)),
    "read up to the LEO": Mutant("R11", (),
        Rules(readable_end=lambda hw, leo: leo),
        golden=("reader_sees_committed_records_only",),
        claims={"leader_failover": "the consumer has read everything"}),
    "no position diverges": Mutant("R11", ("F55",),
        Rules(diverged=lambda epochs, leo, offset, last_epoch: -1),
        golden=("fetch_reports_a_diverged_position",)),
    "latest offset is the HW": Mutant("R12", ("F53",),
        Rules(latest_offset=lambda hw, epoch_start: hw),
        golden=("latest_offset_waits_for_the_epoch_start",)),
    "campaign against a live leader": Mutant("R14", (),
        Rules(may_campaign=lambda view: view.in_isr or view.in_elr),
        golden=("store_outage_restarts_the_lease_watch",),
        claims={"all_asleep": "The sleep deposes no leader"}),
    "all acks past the lease": Mutant("R15", (),
        Rules(serves_acks=_always),
        golden=("leader_with_an_expired_lease_accepts_acks_all_only",),
        claims={
            "all_asleep": "After the sleep, acks=all is acknowledged and acks=1 is refused",
            "leader_cut_off": "refuses acks=1 before another broker is elected",
            "metadata_outage": "After the lease, acks=all is committed and acks=1 is refused",
        }),
    "no stepping down": Mutant("R16", (),
        Rules(must_step_down=_never),
        golden=("leader_steps_down_on_a_higher_epoch",),
        claims={"zombie_leader": "steps down"}),
    "every restart is clean": Mutant("R17", ("F28", "F29", "F63"),
        Rules(is_clean=_always),
        golden=("unclean_restart_leaves_isr_and_elr", "clean_marker_is_deleted_first")),
    "any storage session is the same": Mutant("R17", ("F29",),
        Rules(is_clean=lambda facts: (
            right.is_clean(replace(facts, registered_session=facts.storage_session))
        )),
        golden=("start_that_ends_before_it_registers_vouches_for_nothing",),
        invariants=("UncleanExclusion",), seed=12),
    "no storage session is the same": Mutant("R17", (),
        Rules(is_clean=lambda facts: right.is_clean(replace(facts, registered_session=""))),
        golden=("killed_process_keeps_its_place_with_flush_os",)),
}  # fmt: skip


@dataclass(frozen=True)
class ProducerMutant:
    """A producer with one wrong decision."""

    flaws: tuple[str, ...]
    """Numbers of docs/flaws.md."""
    owner: type
    name: str
    """The method or property of ``owner`` that ``wrong`` replaces."""
    wrong: object
    golden: str
    """The golden script with another output."""
    caught_by: tuple[str, ...]
    """Invariants, and claims of a run; one of them fails in the mix of outcomes."""
    seed: int
    """First seed of the mix that fails."""


def _start_epoch_at_once(producer: Producer) -> None:
    if producer.ending_epoch and not producer.fenced:
        producer.ending_epoch = False
        producer.session.start_epoch()
        producer.effects.append(Observe(ProducerReset(producer.session.epoch, producer.abandoned)))
        producer.abandoned = 0


def _no_try_left_or_unknown_producer(delivery: Delivery) -> bool:
    return not delivery.tries or delivery.producer_unknown


PRODUCER_MUTANTS: dict[str, ProducerMutant] = {
    "new epoch before the old one is resolved": ProducerMutant(("F76",),
        Producer, "_end_epoch_if_resolved", _start_epoch_at_once,
        golden="producer_resolves_an_epoch_before_the_next",
        caught_by=("FencedByAnother",), seed=0),
    "new sequence for a batch that may be written": ProducerMutant(("F66", "F75"),
        Delivery, "may_be_renumbered", property(_no_try_left_or_unknown_producer),
        golden="forgotten_producer_does_not_repeat_a_lost_batch",
        caught_by=("Each outcome is true",), seed=3),
}  # fmt: skip
