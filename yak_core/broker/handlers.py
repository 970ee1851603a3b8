"""What a broker makes of each event: peers' messages, clients' requests, timers.

Must never hold state. The order of the guards is the protocol's: a message of an epoch that is
over is refused, a higher epoch is entered before anything else is looked at, and only then the
role decides.
"""

from __future__ import annotations

from yak_core.broker.describe import describe, status_hash
from yak_core.broker.election import TIMER_CAMPAIGN, campaign
from yak_core.broker.fetch import TIMER_READERS
from yak_core.broker.produce import TIMER_WAITERS
from yak_core.broker.roles import TIMER_HEARTBEAT, Broker
from yak_core.broker.saved_state import HW_KEY
from yak_core.broker.shutdown import TIMER_STOP
from yak_core.broker.store_session import TIMER_PROPOSAL, TIMER_READ, TIMER_RENEW
from yak_core.contract.effects import Answer, SaveState, Send
from yak_core.contract.events import Called, Received, TimerFired
from yak_core.contract.messages import (
    DescribeRequest,
    Fenced,
    FetchRequest,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ProduceRequest,
    Replicate,
    ReplicateAck,
    ReplicateReject,
)
from yak_core.contract.notes import FencedPeer, IgnoredMessage, IgnoreReason
from yak_core.errors import ErrorCode
from yak_core.ids import NO_EPOCH, CallId, Epoch, NodeId
from yak_core.rules import ReplicateDecision

# -- peers --------------------------------------------------------------------------------------


def on_peer_message(broker: Broker, event: Received) -> None:
    """Messages before registration or after a stop say nothing to this incarnation (F42)."""
    if broker.phase != "running":
        return
    message = event.message
    if isinstance(message, Replicate):
        _on_replicate(broker, event.src, message)
    elif isinstance(message, ReplicateAck):
        if _leads(broker, message.epoch) and broker.leading is not None:
            broker.leading.on_ack(event.src, message)
            broker.after_leader_progress()
    elif isinstance(message, ReplicateReject):
        if _leads(broker, message.epoch) and broker.leading is not None:
            broker.leading.on_reject(event.src, message)
    elif isinstance(message, Fenced):
        if message.epoch > broker.epoch:
            broker.raise_epoch(message.epoch, message.leader)
    else:
        raise TypeError(f"a broker does not take in {type(message).__name__}")


def _on_replicate(broker: Broker, src: NodeId, message: Replicate) -> None:
    if message.leader != src:
        broker.context.note(IgnoredMessage(src, "Replicate", IgnoreReason.NOT_ITS_OWN))
        return
    decision = broker.rules.accept_replicate(
        broker.epoch, broker.leader, message.epoch, message.leader
    )
    if decision is ReplicateDecision.FENCED:
        broker.context.note(FencedPeer(src, message.epoch))
        broker.context.emit(Send(src, Fenced(broker.epoch, broker.leader)))
        return
    if decision is ReplicateDecision.CONFLICT:
        broker.halt(
            f"two leaders for epoch {broker.epoch}: {broker.leader} and {message.leader} (F81)"
        )
        return
    if decision is ReplicateDecision.ADOPT:
        broker.raise_epoch(message.epoch, message.leader)
    if broker.leading is None:
        broker.follower.on_replicate(message, broker.epoch, broker.broker_epoch)


def _leads(broker: Broker, seen: Epoch) -> bool:
    """A higher epoch in an answer ends the own leadership; True while it stands."""
    if seen > broker.epoch:
        broker.raise_epoch(seen, None)
    return broker.leading is not None


# -- clients ------------------------------------------------------------------------------------


def answer_call(broker: Broker, event: Called) -> None:
    """Answer at once, or let the request wait."""
    request = event.request
    leading = broker.leading
    if isinstance(request, DescribeRequest):
        broker.context.emit(Answer(event.call, describe(broker, request)))
        return
    if not isinstance(request, (ProduceRequest, FetchRequest, ListOffsetsRequest)):
        raise TypeError(f"a broker does not answer {type(request).__name__}")
    if leading is None or broker.phase != "running":
        _turn_away(broker, event.call, request, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    elif not isinstance(request, ListOffsetsRequest) and request.leader_epoch > broker.epoch:
        # The client has heard of a later leader than this broker has.
        broker.session.order_read()
        _turn_away(broker, event.call, request, ErrorCode.UNKNOWN_LEADER_EPOCH)
    elif isinstance(request, ProduceRequest):
        if broker.writers.produce(event.call, request, leading, broker.session.lease_deadline):
            leading.send_pending_all()
    elif isinstance(request, FetchRequest):
        broker.readers.fetch(event.call, request, broker.leader, broker.epoch)
    else:
        broker.readers.list_offsets(
            event.call, request, broker.leader, broker.epoch, leading.start
        )


def _turn_away(
    broker: Broker,
    call: CallId,
    request: ProduceRequest | FetchRequest | ListOffsetsRequest,
    error: ErrorCode,
) -> None:
    """Not here: say where, as far as known."""
    leader = broker.leader
    if isinstance(request, ProduceRequest):
        broker.writers.refuse(call, request, error)
    elif isinstance(request, FetchRequest):
        broker.readers.refuse(call, request, error, leader, broker.epoch, "")
    else:
        broker.context.emit(
            Answer(
                call,
                ListOffsetsResponse(request.correlation, error, -1, NO_EPOCH, leader, broker.epoch),
            )
        )


# -- timers -------------------------------------------------------------------------------------


def on_timer(broker: Broker, event: TimerFired) -> None:
    """A timer fired; while stopping, only the stop's own counts."""
    key = event.key
    if key == TIMER_STOP:
        broker.exit(clean=False)
    elif broker.phase == "stopping":
        return
    elif key == TIMER_HEARTBEAT:
        broker.heartbeat()
    elif key == TIMER_RENEW:
        _renew(broker)
    elif key == TIMER_CAMPAIGN:
        if broker.leading is None:
            campaign(broker.context, broker.session, broker.partition, broker.broker_epoch)
    elif key == TIMER_READ:
        broker.session.order_read()
    elif key == TIMER_PROPOSAL:
        broker.session.resend()
    elif key == TIMER_READERS:
        broker.readers.expire(broker.leader, broker.epoch)
    elif key == TIMER_WAITERS:
        broker.writers.expire()
    else:
        raise ValueError(f"nobody sets a timer called {key}")


def _renew(broker: Broker) -> None:
    """Beat; checkpoint the high watermark; publish the advisory view."""
    broker.session.on_renewal_due()
    if broker.log.hw > broker.saved_hw:
        broker.saved_hw = broker.log.hw
        value = str(broker.saved_hw).encode()
        broker.context.emit(SaveState(broker.context.op(), HW_KEY, value))
    if broker.leading is not None:
        broker.session.publish(status_hash(broker))
