"""What a node asks of the metadata store and what it may be told; must never hold a decision.

Four requests travel in the ``CallMeta`` effect and three outcomes come back in ``MetaReply``. Each
call ends as Done, as Refused with what the store now holds, or as Unknown: it may or may not have
happened (F18, F85). There is no fourth ending; a time-out is Unknown, never a refusal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

from yak_core.ids import BrokerEpoch, NodeId, Stamp
from yak_core.metadata.partition_state import PartitionState
from yak_core.value import value

Guard: TypeAlias = tuple[NodeId, int]
"""(node, beat count): the write counts only while that node's beat has not moved."""


class Refusal(StrEnum):
    """Why the store refused to replace the record."""

    STAMP = "stamp"
    """The stored stamp is not the expected one. The same bytes may already have been written."""
    GUARD = "guard"
    """The guarded node has renewed since. Counts only grow, so for these bytes it is final."""


class ProposalKind(StrEnum):
    """Which transition of the record a broker proposes."""

    CREATE = "create"
    REGISTER = "register"
    ELECT = "elect"
    ALTER_ISR = "alter_isr"


class ProposalResult(StrEnum):
    """How a proposal ended."""

    APPLIED = "applied"
    OVERTAKEN = "overtaken"
    REFUSED = "refused"
    FORGOTTEN = "forgotten"
    """By a variant of the rules only."""


class CallKind(StrEnum):
    """What an open metadata call is for."""

    READ = "read"
    RENEW = "renew"
    PROPOSAL = "proposal"
    PUBLISH = "publish"


@value
class Read:
    """Ask for the record and all beats."""


@value
class Cas:
    """Replace the record if its stamp is ``expected`` and the guard, if any, still holds.

    ``expected`` None means that no record exists yet. ``state`` carries its own new stamp.
    """

    expected: Stamp | None
    state: PartitionState
    guard: Guard | None


@value
class RenewLease:
    """Add one to the node's beat counter; ``known`` is the newest stamp that the node has seen."""

    node: NodeId
    broker_epoch: BrokerEpoch
    known: Stamp | None


@value
class Publish:
    """Replace the status hash by these (field, value) pairs; no decision rests on it."""

    status: tuple[tuple[str, str], ...]


MetaRequest: TypeAlias = Read | Cas | RenewLease | Publish


@value
class MetaValue:
    """What the store held when it answered.

    ``state`` None with ``unchanged`` False: no record exists. ``unchanged`` True: the record is
    left out, because the stored stamp is the one that the caller named as known. ``renewals`` are
    (node, incarnation, count), ascending by node. The answer to a Publish is
    :data:`NO_VALUE`.
    """

    state: PartitionState | None
    unchanged: bool
    renewals: tuple[tuple[NodeId, BrokerEpoch, int], ...]

    def renewals_of(self, node: NodeId) -> int:
        """The beat count of ``node``; 0 when it has never beaten."""
        for known, _, count in self.renewals:
            if known == node:
                return count
        return 0


NO_VALUE: Final = MetaValue(None, True, ())
"""What a Publish is answered with: not a look at the record, and not one at the beats either."""


@value
class StoreOk:
    """It happened, and this is what the store held right after."""

    value: MetaValue


@value
class Refused:
    """Nothing was changed, for ``reason`` ."""

    reason: str
    current: MetaValue


@value
class Unknown:
    """It may or may not have happened, or may still happen later."""


MetaOutcome: TypeAlias = StoreOk | Refused | Unknown
