"""What a broken promise looks like: a name, a place, and sentences; must never check anything."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from yak_core.ids import NodeId

RULES: Final = MappingProxyType(
    {
        "OneLeaderPerEpoch": "R0, INV-E1: in one leader epoch at most one start of one broker acts "
        "as the leader.",
        "EpochNeverFalls": "R0, INV-E2: a registered broker never goes back to a lower leader "
        "epoch, not even after a restart.",
        "ViewNeverFalls": "R1: the record that a broker acts on is never older than one that it "
        "acted on before; a late answer changes nothing (F59).",
        "LeaderAppendOnly": "R2, INV-E3: a leader never cuts its own log within its epoch.",
        "RecordChain": "R8, INV-E4 and E5: every record names the one that it replaces, its "
        "version is one higher, its epoch never falls, and it is well formed.",
        "StaleMessageIgnored": "R3 and R4, INV-E6: a message of an older epoch changes nothing.",
        "LogShape": "R3, INV-S1 and S2: a log has no gaps, and epochs never fall along it.",
        "LogMatching": "R3, S18: two logs that hold a record with the same epoch and offset hold "
        "the same record there, and the same records below it.",
        "AckIsVerified": "R3: a follower acknowledges only what it has proved equal to the log of "
        "this epoch's leader, and, where an ack means flushed, has flushed (F10).",
        "ProgressIsEvidence": "R4: a leader counts a follower only for what this incarnation of "
        "it acknowledged in this epoch (F22, F40).",
        "CommittedAgreement": "R3 and R11, S4 and S23: below its high watermark every replica "
        "holds the committed records and no others.",
        "HwSound": "R3 and R5, INV-R3: no high watermark passes the end of its log or the true "
        "high watermark, and a leader's never falls within its epoch.",
        "HwJustified": "R5, INV-R4: a leader advances its high watermark only with min ISR "
        "members, and only over records that every member of the maximal ISR really holds.",
        "QuorumSuperset": "R5, S3: the maximal ISR, over which a leader commits, contains "
        "everybody whom the store could elect.",
        "PendingKept": "R8: a proposed ISR counts until a newer record is observed; a time-out "
        "proves nothing (F18).",
        "CandidateCompleteness": "R7 and R17, S2: everybody in ISR or ELR holds every committed "
        "record.",
        "LeaderCompleteness": "R14, S1: the recorded leader holds every committed record.",
        "IsrAdmission": "R7, INV-R8: who joins the ISR has shown, in this epoch and incarnation, "
        "all that is committed and all below the start of the epoch (F14).",
        "NoCutBelowCommitted": "R3, INV-R9: a member of ISR or ELR never cuts a committed record.",
        "UncleanExclusion": "R17, S11: a replica that lost acknowledged records in a restart is "
        "neither leader nor in ISR or ELR until it has caught up again.",
        "DurableSurvives": "INV-D2: what was flushed is there after a crash.",
        "ConfirmImpliesCommitted": "R10, S19: a write with acks=all is confirmed only when its "
        "records are committed.",
        "ReadersSeeCommitted": "R11 and R12, INV-C2: readers get committed records only, in order "
        "and without a gap, and no latest offset that lies before the start of the epoch.",
        "NoDuplicate": "R9, INV-C4: a producer's record is committed once.",
        "ProducerOrder": "R9, INV-C5: a producer's records are committed in the order of their "
        "sequences, without a gap.",
        "HonestFailure": "R9 and R10, INV-C6: a record reported as not written never enters the "
        "log; when in doubt the answer is unknown.",
        "ReplicaShape": "R1 and R2, S10: a leader is the one that its record names; what a "
        "replica says of its own log is true.",
        "EpochIndexIsFold": "R2 and R3, INV-S2: the epoch index follows from the log.",
        "ProducerTableIsFold": "R9, INV-S3: the idempotence table follows from the log.",
        "QueuesBounded": "R9, INV-X2: no queue grows beyond its limit.",
        "NoHalt": "R0 and R3: a broker halts only when going on could break a promise; in a world "
        "whose store and disks lose nothing that they confirmed, it never has to.",
    }
)
"""Name of each invariant -> the rule that it holds the protocol to. Names are stable: verdicts,
mutant tables and shrunken traces refer to them."""


class InvariantViolated(Exception):
    """The history broke a promise.

    ``invariant`` is a key of :data:`RULES`, ``event`` the number in the world's trace of the step
    that broke it, or of the last one before the store or a crash did (-1 without a recorder),
    ``node`` who broke it (or ``store``).
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
            f"{invariant} broken by {node}{at}: expected {expected}; but {happened}. {self.rule}"
        )

    def fields(self) -> dict[str, str | int]:
        """What a verdict file says of it (docs/formats.md)."""
        names = ("invariant", "event", "node", "expected", "happened", "rule")
        return {name: getattr(self, name) for name in names}
