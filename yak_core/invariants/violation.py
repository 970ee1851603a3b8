"""The names of the invariants, and the error that reports a violation."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from yak_core.ids import NodeId

RULES: Final = MappingProxyType(
    {
        "OneLeaderPerEpoch": "R0: At most one start of one broker leads a leader epoch.",
        "EpochNeverFalls": "R0: The leader epoch of a registered broker never decreases, not even "
        "after a restart.",
        "ViewNeverFalls": "R1: A broker never replaces the partition state that it acts on by an "
        "older one, so a late reply of the store changes nothing (F59).",
        "LeaderAppendOnly": "R2: A leader never truncates its own log within its epoch.",
        "RecordChain": "R8: Every partition state is well formed and names the partition state "
        "that it replaces; its partition epoch is one higher, and its leader epoch is not lower.",
        "StaleMessageIgnored": "R3 and R4: A message of a stale epoch changes neither the log nor "
        "the high watermark of its receiver.",
        "LogShape": "R3: A log has no gaps, and the epochs of its batches never decrease.",
        "LogMatching": "R3: If two logs hold a batch with the same epoch and offset, the two logs "
        "are equal up to the end of this batch.",
        "AckIsVerified": "R3: A follower acknowledges only records that it has compared with the "
        "log of this epoch's leader and, with flush=batch, has flushed (F10).",
        "ProgressIsEvidence": "R4: A leader counts only the offsets that the current broker epoch "
        "of a follower has acknowledged in the current leader epoch (F22, F40).",
        "CommittedAgreement": "R3 and R11: Below its high watermark, every replica holds the "
        "committed records and no others.",
        "HwSound": "R3 and R5: A high watermark is never above the log end or the end of the "
        "committed records, and the high watermark of a leader never decreases within its epoch.",
        "HwJustified": "R5: A leader advances its high watermark only while the ISR has min ISR "
        "members, and only over records that every member of the maximal ISR holds.",
        "QuorumSuperset": "R5: The maximal ISR, over which a leader commits, contains every "
        "replica that the partition state allows to be elected.",
        "PendingKept": "R8: A proposed ISR counts until the leader observes a newer partition "
        "state; a timeout of the proposal does not end it (F18).",
        "CandidateCompleteness": "R7 and R17: Every member of the ISR and the ELR holds every "
        "committed record.",
        "LeaderCompleteness": "R14: The leader that the partition state names holds every "
        "committed record.",
        "IsrAdmission": "R7: A replica joins the ISR only after it has acknowledged, in this "
        "leader epoch and under its current broker epoch, all committed records and all records "
        "below the start of the leader epoch (F14).",
        "NoCutBelowCommitted": "R3: A member of the ISR or the ELR never truncates a committed "
        "record.",
        "UncleanExclusion": "R17: A replica that lost acknowledged records in a restart is neither "
        "the leader nor a member of the ISR or the ELR until it has caught up again.",
        "DurableSurvives": "R17: Flushed records are still on the disk after a crash.",
        "ConfirmImpliesCommitted": "R10: A produce request with acks=all is confirmed only when "
        "its records are committed.",
        "ReadersSeeCommitted": "R11 and R12: Consumers read only committed records, in order and "
        "without gaps, and a latest offset is never below the start of the leader epoch.",
        "NoDuplicate": "R9: A batch of an idempotent producer is committed at most once.",
        "ProducerOrder": "R9: The batches of an idempotent producer are committed in the order of "
        "their sequences, without gaps.",
        "FencedByAnother": "R9: A producer is fenced only if another one uses its producer id, so "
        "it starts no producer epoch while a batch of an earlier one is unresolved (F76).",
        "HonestFailure": "R9 and R10: A batch that was reported as not written is never committed; "
        "an uncertain outcome is reported as unknown.",
        "ReplicaShape": "R1 and R2: A leader acts on a partition state that names it as the "
        "leader, and the ends that a replica keeps agree with its log.",
        "EpochIndexIsFold": "R2 and R3: The epoch index of a replica is the one computed from its "
        "log.",
        "ProducerTableIsFold": "R9: The idempotence table of a replica is the one computed from "
        "its log.",
        "QueuesBounded": "R9: No queue of a broker grows beyond its limit.",
        "NoHalt": "R0 and R3: A broker does not halt while the store and the disks keep all "
        "acknowledged writes.",
    }
)
"""Name of each invariant -> numbers of the rules that it checks, and its description.

The names are stable: verdicts, mutant tables and shrunk traces contain them.
"""


class InvariantViolated(Exception):
    """An invariant does not hold after a step, a store write or a crash.

    ``invariant`` is a key of :data:`RULES`. ``event`` is the number of the violating step in the
    world's trace; for a store write or a crash, the number of the step before it; -1 without a
    recorder. ``node`` is the violating node, or ``store``. ``expected`` is a noun phrase,
    ``happened`` a clause.
    """

    def __init__(
        self, invariant: str, event: int, node: NodeId, expected: str, happened: str
    ) -> None:
        self.invariant = invariant
        self.event = event
        self.node = node
        self.expected = expected
        self.happened = happened
        self.rule = RULES[invariant]
        at = f" at event {event}" if event >= 0 else ""
        super().__init__(
            f"{invariant} violated by {node}{at}: "
            f"expected {expected}, found: {happened}. {self.rule}"
        )

    def fields(self) -> dict[str, str | int]:
        """Return the fields of the violation in a verdict file (docs/formats.md)."""
        names = ("invariant", "event", "node", "expected", "happened", "rule")
        return {name: getattr(self, name) for name in names}
