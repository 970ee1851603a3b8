"""The health of a broker: whether records with acks=all can be committed, and if not, why.

All values are from the broker's own memory. A leader counts a follower only if its acks are recent,
because the ISR can name a broker that is down: it is removed only once it lags, and only while the
store answers. A follower knows the last message of its leader, and the ISR that it has last read.
It reads the ISR with each lease renewal, so it learns later than the leader that it has joined.
"""

from __future__ import annotations

from typing import Protocol

from yak_core.broker.context import Context
from yak_core.broker.follower import Follower
from yak_core.broker.leader import Leader
from yak_core.broker.phases import Phase
from yak_core.broker.store_session import StoreSession
from yak_core.config import SECOND
from yak_core.ids import BrokerEpoch, Micros, NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.value import value


@value
class BrokerHealth:
    """The health of a broker. ``reason`` is one clause, empty if nothing is wrong.

    ``is_ready`` is False if acks=all cannot be served: here, or as far as a follower knows.
    ``store_answers`` is False if the metadata store has not replied for longer than a lost reply
    explains. A broker may be ready without it.
    """

    phase: Phase
    is_ready: bool
    store_answers: bool
    reason: str


class ExaminedBroker(Protocol):
    """The attributes of a broker that its health depends on."""

    phase: Phase
    broker_epoch: BrokerEpoch
    partition: PartitionState | None
    context: Context
    session: StoreSession
    follower: Follower
    leading: Leader | None


def health_of(broker: ExaminedBroker, now: Micros) -> BrokerHealth:
    """Return the health at ``now``, the time on the broker's own clock."""
    session, partition = broker.session, broker.partition
    answers = now - session.replied_at <= session.reply_gap_us
    phase = broker.phase
    if phase is not Phase.RUNNING or partition is None:
        has_started = phase not in (Phase.RECOVERING, Phase.REGISTERING)
        reason = f"the broker is {phase}" if has_started else "the broker has not registered yet"
        return BrokerHealth(phase, False, answers, reason)
    if not partition.isr and not partition.elr:
        reason = why_no_leader(partition, broker.context.node)
    else:
        reason = "" if _has_just_joined(broker, partition) else _below_min_isr(partition)
    if not reason and broker.leading is not None:
        reason = _cannot_commit(broker.leading, broker.context, session, now)
    elif not reason:
        reason = _cannot_follow(broker, partition, now)
    if not reason and not answers:
        return BrokerHealth(phase, True, answers, "the metadata store does not answer")
    return BrokerHealth(phase, not reason, answers, reason)


def why_no_leader(state: PartitionState, node: NodeId) -> str:
    """Return why the partition state has no leader yet, as ``node`` sees it."""
    eligible = (*state.isr, *state.elr)
    if not eligible:
        last = ", ".join(state.last_known_eligible) or "none"
        return (
            "no leader: each replica may have lost committed records (ISR and ELR are empty; last "
            f"known ELR: {last}); keep all data directories, and read "
            "docs/runbook.md#no-eligible-replica"
        )
    if node in eligible:
        return "no leader yet: this broker may be elected, and campaigns"
    return f"no leader: only {', '.join(eligible)} may be elected; start one of them"


def _below_min_isr(partition: PartitionState) -> str:
    members, needed = len(partition.isr), partition.effective_min_isr
    if members >= needed:
        return ""
    isr = ", ".join(partition.isr) or "empty"
    return f"acks=all is refused: the ISR is {isr}, and min ISR is {needed}"


def _has_just_joined(broker: ExaminedBroker, partition: PartitionState) -> bool:
    """Return whether a follower has likely joined the ISR, and has not read that yet.

    It has caught up with the leader, which adds it to the ISR at once, and the ISR is then large
    enough. A reply of the store that came clearly later shows whether this has happened.
    """
    follower = broker.follower
    if broker.leading is not None or follower.was_member or follower.caught_up_at < 0:
        return False
    shown_at = follower.caught_up_at + 2 * broker.context.config.lease_renew_us
    members = len(partition.isr) + (broker.context.node not in partition.isr)
    return broker.session.replied_at <= shown_at and members >= partition.effective_min_isr


def _cannot_commit(leading: Leader, context: Context, session: StoreSession, now: Micros) -> str:
    """Return why a leader cannot commit, or "".

    An ISR member without recent acks is removed, and then the others commit. But fewer than min ISR
    members cannot, and after the end of the lease no member can be removed.
    """
    limit = context.config.replica_lag_us
    silent = tuple(
        node
        for node in leading.maximal_isr
        if node != context.node and now - leading.progress[node].heard_at > limit
    )
    if not silent:
        return ""
    needed = leading.partition.effective_min_isr
    names = ", ".join(silent)
    if len(leading.partition.isr) - len(silent) < needed:
        return f"acks=all cannot commit: no ack of {names}, and min ISR is {needed}"
    if now >= session.lease_deadline:
        return (
            f"acks=all cannot commit: no ack of {names}, which stay in the ISR, because the "
            "leader's lease has expired"
        )
    return ""


def _cannot_follow(broker: ExaminedBroker, partition: PartitionState, now: Micros) -> str:
    """Return why a follower expects that acks=all cannot commit, or ""."""
    leader = broker.context.hint.leader
    if leader is None:
        if partition.leader is None:
            return why_no_leader(partition, broker.context.node)
        return "this broker does not know the leader of the newest epoch yet"
    silence = now - broker.follower.heard_at
    if silence > broker.context.config.lease_us:
        return f"no message of the leader {leader} for {silence // SECOND} s"
    return ""
