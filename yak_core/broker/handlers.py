"""The event handlers of a broker: peer messages, client requests, timers and metadata replies.

The epoch of a peer message is checked first. A message with a stale epoch is refused. A higher
epoch is entered before the message is handled by the current role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Never

from yak_core.broker.describe import describe, status_hash
from yak_core.broker.election import TIMER_CAMPAIGN
from yak_core.broker.fetch import TIMER_LONG_POLL
from yak_core.broker.leader import Leader
from yak_core.broker.phases import RUNNING, STOPPING
from yak_core.broker.produce import TIMER_PRODUCE_DEADLINE
from yak_core.broker.roles import TIMER_HEARTBEAT, Broker
from yak_core.broker.saved_state import HW_KEY
from yak_core.broker.shutdown import TIMER_STOP
from yak_core.broker.store_session import TIMER_PROPOSAL, TIMER_READ, TIMER_RENEW
from yak_core.contract.effects import Answer, SaveState, Send
from yak_core.contract.events import Called, Cancelled, MetaReply, PeerLost, Received, TimerFired
from yak_core.contract.messages import (
    DescribeRequest,
    Fenced,
    FetchRequest,
    ListOffsetsRequest,
    PeerMessage,
    ProduceRequest,
    Replicate,
    ReplicateAck,
    ReplicateReject,
)
from yak_core.contract.notes import FencedPeer, IgnoredMessage, IgnoreReason
from yak_core.errors import ErrorCode
from yak_core.ids import CallId, Epoch, NodeId
from yak_core.rules import ReplicateDecision

ACCEPT: Final = ReplicateDecision.ACCEPT

# -- peers --------------------------------------------------------------------------------------


def on_peer_lost(broker: Broker, event: PeerLost) -> None:
    """Pass a lost connection to the leader role; followers ignore it."""
    if broker.leading is not None:
        broker.leading.on_peer_lost(event.peer)


def on_peer_message(broker: Broker, event: Received) -> None:
    """Check the epoch of a peer message, then pass it to its handler.

    Messages that arrive before the registration or after a stop are ignored (F42).
    """
    if broker.phase is not RUNNING:
        return
    message = event.message
    kind = type(message)
    if kind not in PEER_MESSAGES:
        raise TypeError(f"unexpected message for a broker: {kind.__name__}")
    if _check_epoch(broker, event.src, message):  # type: ignore[arg-type]
        PEER_MESSAGES[kind](broker, event.src, message)  # type: ignore[arg-type]


def _check_epoch(broker: Broker, src: NodeId, message: PeerMessage) -> bool:
    """Check the epoch of a message; return whether its handler is to be called.

    A higher epoch is entered first, and a leader then steps down (``must_step_down``).
    """
    if isinstance(message, Replicate):
        return _check_replicate_epoch(broker, src, message)
    if message.epoch > broker.context.hint.epoch:
        leader = message.leader if type(message) is Fenced else None
        broker.enter_higher_epoch(message.epoch, leader)
    if broker.leading is None or isinstance(message, Fenced):
        return False
    if not broker.rules.accept_ack(broker.leading.epoch, message.epoch):
        kind = type(message).__name__
        broker.context.note(IgnoredMessage(src, kind, IgnoreReason.OTHER_EPOCH))
        return False
    return True


def _check_replicate_epoch(broker: Broker, src: NodeId, message: Replicate) -> bool:
    context = broker.context
    if message.leader != src:
        context.note(IgnoredMessage(src, "Replicate", IgnoreReason.NOT_ITS_OWN))
        return False
    hint = context.hint
    decision = broker.rules.accept_replicate(hint.epoch, hint.leader, message.epoch, src)
    if decision is ACCEPT:
        return broker.leading is None
    if decision is ReplicateDecision.FENCED:
        context.note(FencedPeer(src, message.epoch))
        context.emit(Send(src, Fenced(hint.epoch, hint.leader)))
        return False
    if decision is ReplicateDecision.CONFLICT:
        broker.halt_on_two_leaders(src)
        return False
    broker.enter_higher_epoch(message.epoch, src)
    return broker.leading is None


def _on_replicate(broker: Broker, src: NodeId, message: Replicate) -> None:
    broker.follower.on_replicate(message, broker.broker_epoch)


def _on_ack(broker: Broker, src: NodeId, message: ReplicateAck) -> None:
    assert broker.leading is not None
    broker.leading.on_ack(src, message)


def _on_reject(broker: Broker, src: NodeId, message: ReplicateReject) -> None:
    assert broker.leading is not None
    broker.leading.on_reject(src, message)


def _on_fenced(broker: Broker, src: NodeId, message: Fenced) -> None:
    """Ignore the message; ``_check_epoch`` has already used its epoch."""


PEER_MESSAGES: Final[Mapping[type, Callable[[Broker, NodeId, Never], None]]] = MappingProxyType(
    {
        Replicate: _on_replicate,
        ReplicateAck: _on_ack,
        ReplicateReject: _on_reject,
        Fenced: _on_fenced,
    }
)
"""The handler of each type of peer message, called after the epoch check."""


# -- clients ------------------------------------------------------------------------------------


def on_cancelled(broker: Broker, event: Cancelled) -> None:
    """Drop the pending request of a cancelled call."""
    broker.readers.drop_call(event.call)
    broker.writers.drop_call(event.call)


def on_call(broker: Broker, event: Called) -> None:
    """Answer a client request, or keep it pending."""
    request = event.request
    kind = type(request)
    if kind not in REQUESTS:
        raise TypeError(f"unexpected request for a broker: {kind.__name__}")
    REQUESTS[kind](broker, event.call, request)  # type: ignore[arg-type]


def _on_describe(broker: Broker, call: CallId, request: DescribeRequest) -> None:
    broker.context.emit(Answer(call, describe(broker, request)))


def _on_produce(broker: Broker, call: CallId, request: ProduceRequest) -> None:
    leading = _leading(broker, request.leader_epoch)
    if isinstance(leading, ErrorCode):
        broker.writers.refuse(call, request, leading)
    else:
        broker.writers.produce(call, request, leading, broker.session.lease_deadline)


def _on_fetch(broker: Broker, call: CallId, request: FetchRequest) -> None:
    leading = _leading(broker, request.leader_epoch)
    if isinstance(leading, ErrorCode):
        broker.readers.answer(call, request, leading)
    else:
        broker.readers.fetch(call, request)


def _on_list_offsets(broker: Broker, call: CallId, request: ListOffsetsRequest) -> None:
    leading = _leading(broker, broker.epoch)
    start = leading if isinstance(leading, ErrorCode) else leading.start
    broker.readers.list_offsets(call, request, start)


def _leading(broker: Broker, known_epoch: Epoch) -> Leader | ErrorCode:
    """Return the leader role if it can serve this client, else the error to answer with.

    ``known_epoch`` is the newest leader epoch that the client knows.
    """
    leading = broker.leading
    if leading is None or broker.phase is not RUNNING:
        return ErrorCode.NOT_LEADER_OR_FOLLOWER
    if known_epoch > leading.epoch:
        # The client knows a newer leader epoch than this broker, which must read it, too.
        broker.session.read_state()
        return ErrorCode.UNKNOWN_LEADER_EPOCH
    return leading


REQUESTS: Final[Mapping[type, Callable[[Broker, CallId, Never], None]]] = MappingProxyType(
    {
        ProduceRequest: _on_produce,
        FetchRequest: _on_fetch,
        ListOffsetsRequest: _on_list_offsets,
        DescribeRequest: _on_describe,
    }
)
"""The handler of each type of client request."""


# -- timers -------------------------------------------------------------------------------------


def on_timer(broker: Broker, event: TimerFired) -> None:
    """Call the timer's handler; while the broker is stopping, only that of the stop timer."""
    handler = TIMERS.get(event.key)
    if handler is None:
        raise ValueError(f"unknown timer key for a broker: {event.key}")
    if broker.phase is not STOPPING or event.key == TIMER_STOP:
        handler(broker)


def _on_campaign_due(broker: Broker) -> None:
    leads = broker.leading is not None
    broker.candidate.on_due(broker.partition, broker.broker_epoch, leads)


def _on_renewal_due(broker: Broker) -> None:
    """Renew the lease, save the high watermark, and publish the status fields."""
    broker.session.on_renewal_due()
    if broker.log.hw > broker.saved_hw:
        broker.saved_hw = broker.log.hw
        value = str(broker.saved_hw).encode()
        broker.context.emit(SaveState(broker.context.new_op(), HW_KEY, value))
    if broker.leading is not None:
        broker.session.publish(status_hash(broker))


TIMERS: Final[Mapping[str, Callable[[Broker], None]]] = MappingProxyType(
    {
        TIMER_HEARTBEAT: Broker.heartbeat,
        TIMER_RENEW: _on_renewal_due,
        TIMER_CAMPAIGN: _on_campaign_due,
        TIMER_READ: lambda broker: broker.session.read_state(),
        TIMER_PROPOSAL: lambda broker: broker.session.resend(),
        TIMER_LONG_POLL: lambda broker: broker.readers.expire(),
        TIMER_PRODUCE_DEADLINE: lambda broker: broker.writers.expire(),
        TIMER_STOP: lambda broker: broker.exit(clean=False),
    }
)
"""The key and the handler of each timer that a broker sets."""


# -- the store ----------------------------------------------------------------------------------


def on_meta_reply(broker: Broker, event: MetaReply) -> None:
    """Pass the reply to a metadata call to the store session."""
    broker.session.on_reply(event.call, event.outcome)
