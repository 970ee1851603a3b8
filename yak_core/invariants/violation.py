"""The names of the invariants, and the error that reports a violation."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from yak_core.ids import NodeId

RULES: Final = MappingProxyType(
    {
        "OneLeaderPerEpoch": "R0, INV-E1: at most one start of one broker acts as the leader of a "
        "leader epoch.",
        "EpochNeverFalls": "R0, INV-E2: the leader epoch of a registered broker never decreases, "
        "not even after a restart.",
        "ViewNeverFalls": "R1: the metadata record that a broker acts on is never replaced by an "
        "older one; a late reply changes nothing (F59).",
        "LeaderAppendOnly": "R2, INV-E3: a leader never truncates its own log within its epoch.",
        "RecordChain": "R8, INV-E4 and E5: every metadata record is well formed and names the "
        "record that it replaces; its partition epoch is one higher; its leader epoch never "
        "decreases.",
        "StaleMessageIgnored": "R3 and R4, INV-E6: a message of an older epoch changes nothing.",
        "LogShape": "R3, INV-S1 and S2: a log has no gaps, and epochs never decrease along it.",
        "LogMatching": "R3, S18: two logs that hold a record with the same epoch and offset hold "
        "the same record there, and the same records below it.",
        "AckIsVerified": "R3: a follower acknowledges only records that it has compared with the "
        "log of this epoch's leader; with flush=batch it has also flushed them (F10).",
        "ProgressIsEvidence": "R4: a leader counts only the position that the present broker epoch "
        "of a follower acknowledged in this leader epoch (F22, F40).",
        "CommittedAgreement": "R3 and R11, S4 and S23: below its high watermark every replica "
        "holds the committed records and no others.",
        "HwSound": "R3 and R5, INV-R3: no high watermark is above the log end or the true high "
        "watermark, and the high watermark of a leader never decreases within its epoch.",
        "HwJustified": "R5, INV-R4: a leader advances its high watermark only while the ISR has "
        "min ISR members, and only over records that every member of the maximal ISR holds.",
        "QuorumSuperset": "R5, S3: the maximal ISR, over which a leader commits, contains "
        "every replica that could be elected by the metadata record.",
        "PendingKept": "R8: a proposed ISR counts until a newer metadata record is observed; a "
        "timeout proves nothing (F18).",
        "CandidateCompleteness": "R7 and R17, S2: every member of ISR or ELR holds every committed "
        "record.",
        "LeaderCompleteness": "R14, S1: the leader that the metadata record names holds every "
        "committed record.",
        "IsrAdmission": "R7, INV-R8: a replica that joins the ISR has acknowledged all committed "
        "records, and all records below the start of the leader epoch, in this leader epoch and "
        "under its present broker epoch (F14).",
        "NoCutBelowCommitted": "R3, INV-R9: a member of ISR or ELR never truncates a committed "
        "record.",
        "UncleanExclusion": "R17, S11: a replica that lost acknowledged records in a restart is "
        "neither leader nor in ISR or ELR until it has caught up again.",
        "DurableSurvives": "INV-D2: flushed records are still on the disk after a crash.",
        "ConfirmImpliesCommitted": "R10, S19: a write with acks=all is acknowledged only when its "
        "records are committed.",
        "ReadersSeeCommitted": "R11 and R12, INV-C2: readers get only committed records, in order "
        "and without gaps; a latest offset is never below the start of the leader epoch.",
        "NoDuplicate": "R9, INV-C4: a producer's record is committed once.",
        "ProducerOrder": "R9, INV-C5: a producer's records are committed in the order of their "
        "sequences, without gaps.",
        "HonestFailure": "R9 and R10, INV-C6: a record reported as not written never enters the "
        "log; an uncertain outcome is reported as unknown.",
        "ReplicaShape": "R1 and R2, S10: a leader acts on a metadata record that names it as the "
        "leader; the state that a replica keeps about its own log agrees with the log.",
        "EpochIndexIsFold": "R2 and R3, INV-S2: the epoch index follows from the log.",
        "ProducerTableIsFold": "R9, INV-S3: the idempotence table follows from the log.",
        "QueuesBounded": "R9, INV-X2: no queue grows beyond its limit.",
        "NoHalt": "R0 and R3: a broker halts only when continuing could break a promise; it does "
        "not halt while the store and the disks keep all acknowledged writes.",
    }
)
"""Name of each invariant -> the rule that it checks. The names are stable: verdicts, mutant tables
and shrunk traces contain them."""


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
            f"{invariant} was broken by {node}{at}: "
            f"expected {expected}; but {happened}. {self.rule}"
        )

    def fields(self) -> dict[str, str | int]:
        """Return the fields of the violation in a verdict file (docs/formats.md)."""
        names = ("invariant", "event", "node", "expected", "happened", "rule")
        return {name: getattr(self, name) for name in names}
