"""The requests to the metadata store, and their outcomes.

A ``CallMeta`` effect carries one of four requests; a ``MetaReply`` event carries one of three
outcomes. ``StoreOk``: the call was executed. ``Refused``: it was not executed, and the outcome
holds the present contents of the store. ``Unknown``: it may or may not have been executed
(F18, F85). A timeout is ``Unknown``, never ``Refused``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

from yak_core.ids import BrokerEpoch, NodeId, Stamp
from yak_core.metadata.partition_state import PartitionState
from yak_core.value import value

Guard: TypeAlias = tuple[NodeId, int]
"""(node, count): the write is executed only if the lease counter of ``node`` is ``count``."""


class Refusal(StrEnum):
    """Why the store refused to replace the partition state."""

    STAMP = "stamp"
    """The stored stamp is not the expected one. An earlier copy of the request may have caused
    this."""
    GUARD = "guard"
    """The guarded node has renewed its lease. Counts only grow, so every retry is refused, too."""


class ProposalKind(StrEnum):
    """The transition of the partition state that a broker proposes."""

    CREATE = "create"
    REGISTER = "register"
    ELECT = "elect"
    ALTER_ISR = "alter_isr"
    ANNOUNCE = "announce"


class ProposalResult(StrEnum):
    """The result of a proposal."""

    APPLIED = "applied"
    OVERTAKEN = "overtaken"
    REFUSED = "refused"
    FORGOTTEN = "forgotten"
    """Dropped without a result; only variants of the rules do this."""


class CallKind(StrEnum):
    """The purpose of a pending metadata call."""

    READ = "read"
    RENEW = "renew"
    PROPOSAL = "proposal"
    PUBLISH = "publish"


@value
class Read:
    """Read the partition state and all lease counters."""


@value
class Cas:
    """Replace the partition state if its stamp is ``expected`` and the guard, if any, holds.

    ``expected`` None means that no partition state exists yet. ``state`` has a new stamp.
    """

    expected: Stamp | None
    state: PartitionState
    guard: Guard | None


@value
class RenewLease:
    """Renew the node's lease: add one to its lease counter.

    ``known`` is the newest stamp that the node has seen.
    """

    node: NodeId
    broker_epoch: BrokerEpoch
    known: Stamp | None


@value
class Publish:
    """Replace the status hash by these (field, value) pairs. Brokers never read it."""

    status: tuple[tuple[str, str], ...]


MetaRequest: TypeAlias = Read | Cas | RenewLease | Publish


@value
class MetaValue:
    """The contents of the store right after a call.

    ``unchanged`` True: ``state`` is left out, because the stored stamp is the one that the caller
    named as known. ``unchanged`` False with ``state`` None: no partition state exists.
    ``renewals`` are the lease counters as (node, broker epoch, count), ascending by node. The reply
    to a Publish is :data:`NO_VALUE`.
    """

    state: PartitionState | None
    unchanged: bool
    renewals: tuple[tuple[NodeId, BrokerEpoch, int], ...]

    def renewals_of(self, node: NodeId) -> int:
        """Return the lease counter of ``node``; 0 if it has never renewed its lease."""
        for known, _, count in self.renewals:
            if known == node:
                return count
        return 0


NO_VALUE: Final = MetaValue(None, True, ())
"""The reply to a Publish: neither a partition state nor lease counters."""


@value
class StoreOk:
    """The call was executed; ``value`` holds the contents of the store right after it."""

    value: MetaValue


@value
class Refused:
    """The call changed nothing. ``current`` holds the present contents of the store.

    ``reason`` is a member of :class:`Refusal`.
    """

    reason: str
    current: MetaValue


@value
class Unknown:
    """The call may have been executed, may never be, or may be executed later."""


MetaOutcome: TypeAlias = StoreOk | Refused | Unknown
