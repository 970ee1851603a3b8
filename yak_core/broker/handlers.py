"""What a broker makes of each event: peers' messages, clients' requests, timers.

Must never hold state. The order of the guards is the protocol's: a message of an epoch that is
over is refused, a higher epoch is entered before anything else is looked at, and only then the
role decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Never

from yak_core.broker.describe import describe, status_hash
from yak_core.broker.election import TIMER_CAMPAIGN, campaign
from yak_core.broker.fetch import TIMER_READERS
from yak_core.broker.leader import Leader
from yak_core.broker.phases import Phase
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
    PeerMessage,
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
    """The door for peers: a message is judged by its epoch before anything is done with it.

    Messages before the registration or after a stop say nothing to this incarnation (F42).
    """
    if broker.phase is not Phase.RUNNING:
        return
    message = event.message
    handler = PEER_MESSAGES.get(type(message))
    if handler is None:
        raise TypeError(f"a broker does not take in {type(message).__name__}")
    if _admits(broker, event.src, message):  # type: ignore[arg-type]
        handler(broker, event.src, message)  # type: ignore[arg-type]


def _admits(broker: Broker, src: NodeId, message: PeerMessage) -> bool:
    """Judge the epoch of a message; False if nothing more is to be done with it.

    A higher epoch is entered first, which ends the own leadership (``must_step_down``).
    """
    rules = broker.rules
    if isinstance(message, Replicate):
        return _admits_replicate(broker, src, message)
    if message.epoch > broker.epoch:
        broker.raise_epoch(message.epoch, message.leader if type(message) is Fenced else None)
    if broker.leading is None or isinstance(message, Fenced):
        return False
    if not rules.accept_ack(broker.leading.epoch, message.epoch):
        kind = type(message).__name__
        broker.context.note(IgnoredMessage(src, kind, IgnoreReason.OTHER_EPOCH))
        return False
    return True


def _admits_replicate(broker: Broker, src: NodeId, message: Replicate) -> bool:
    context = broker.context
    if message.leader != src:
        context.note(IgnoredMessage(src, "Replicate", IgnoreReason.NOT_ITS_OWN))
        return False
    decision = broker.rules.accept_replicate(
        broker.epoch, broker.leader, message.epoch, message.leader
    )
    if decision is ReplicateDecision.FENCED:
        context.note(FencedPeer(src, message.epoch))
        context.emit(Send(src, Fenced(broker.epoch, broker.leader)))
        return False
    if decision is ReplicateDecision.CONFLICT:
        leaders = f"{broker.leader} and {message.leader}"
        broker.halt(f"two leaders for epoch {broker.epoch}: {leaders} (F81)")
        return False
    if decision is ReplicateDecision.ADOPT:
        broker.raise_epoch(message.epoch, message.leader)
    return broker.leading is None


def _on_replicate(broker: Broker, src: NodeId, message: Replicate) -> None:
    broker.follower.on_replicate(message, broker.epoch, broker.broker_epoch)


def _on_ack(broker: Broker, src: NodeId, message: ReplicateAck) -> None:
    assert broker.leading is not None
    broker.leading.on_ack(src, message)


def _on_reject(broker: Broker, src: NodeId, message: ReplicateReject) -> None:
    assert broker.leading is not None
    broker.leading.on_reject(src, message)


def _on_fenced(broker: Broker, src: NodeId, message: Fenced) -> None:
    """Its epoch was all that it said."""


PEER_MESSAGES: Final[Mapping[type, Callable[[Broker, NodeId, Never], None]]] = MappingProxyType(
    {
        Replicate: _on_replicate,
        ReplicateAck: _on_ack,
        ReplicateReject: _on_reject,
        Fenced: _on_fenced,
    }
)
"""What is done with each message of a peer that is admitted."""


# -- clients ------------------------------------------------------------------------------------


def on_call(broker: Broker, event: Called) -> None:
    """The door for clients: answer at once, or let the request wait."""
    request = event.request
    handler = REQUESTS.get(type(request))
    if handler is None:
        raise TypeError(f"a broker does not answer {type(request).__name__}")
    handler(broker, event.call, request)  # type: ignore[arg-type]


def _on_describe(broker: Broker, call: CallId, request: DescribeRequest) -> None:
    broker.context.emit(Answer(call, describe(broker, request)))


def _on_produce(broker: Broker, call: CallId, request: ProduceRequest) -> None:
    leading, error = _leading(broker, request.leader_epoch)
    if leading is None:
        broker.writers.refuse(call, request, error)
    else:
        broker.writers.produce(call, request, leading, broker.session.lease_deadline)


def _on_fetch(broker: Broker, call: CallId, request: FetchRequest) -> None:
    leading, error = _leading(broker, request.leader_epoch)
    if leading is None:
        broker.readers.refuse(call, request, error)
    else:
        broker.readers.fetch(call, request)


def _on_list_offsets(broker: Broker, call: CallId, request: ListOffsetsRequest) -> None:
    leading, error = _leading(broker, broker.epoch)
    if leading is None:
        hint = broker.context.hint
        response = ListOffsetsResponse(
            request.correlation, error, -1, NO_EPOCH, hint.leader, hint.epoch
        )
        broker.context.emit(Answer(call, response))
    else:
        broker.readers.list_offsets(call, request, leading.start)


def _leading(broker: Broker, known_epoch: Epoch) -> tuple[Leader | None, ErrorCode]:
    """The leadership that serves a client who knows of this epoch, or why there is none."""
    if broker.leading is None or broker.phase is not Phase.RUNNING:
        return None, ErrorCode.NOT_LEADER_OR_FOLLOWER
    if known_epoch > broker.epoch:
        # The client has heard of a later leader than this broker has.
        broker.session.order_read()
        return None, ErrorCode.UNKNOWN_LEADER_EPOCH
    return broker.leading, ErrorCode.NONE


REQUESTS: Final[Mapping[type, Callable[[Broker, CallId, Never], None]]] = MappingProxyType(
    {
        ProduceRequest: _on_produce,
        FetchRequest: _on_fetch,
        ListOffsetsRequest: _on_list_offsets,
        DescribeRequest: _on_describe,
    }
)
"""What is done with each request of a client."""


# -- timers -------------------------------------------------------------------------------------


def on_timer(broker: Broker, event: TimerFired) -> None:
    """A timer fired; while stopping, only the stop's own counts."""
    handler = TIMERS.get(event.key)
    if handler is None:
        raise ValueError(f"no part of a broker sets a timer called {event.key}")
    if broker.phase is not Phase.STOPPING or event.key == TIMER_STOP:
        handler(broker)


def _on_stop_deadline(broker: Broker) -> None:
    broker.exit(clean=False)


def _on_campaign_due(broker: Broker) -> None:
    if broker.leading is None:
        campaign(broker.context, broker.session, broker.partition, broker.broker_epoch)


def _on_read_due(broker: Broker) -> None:
    broker.session.order_read()


def _on_proposal_due(broker: Broker) -> None:
    broker.session.resend()


def _on_fetch_deadline(broker: Broker) -> None:
    broker.readers.expire()


def _on_produce_deadline(broker: Broker) -> None:
    broker.writers.expire()


def _on_renewal_due(broker: Broker) -> None:
    """Renew the lease; checkpoint the high watermark; publish the status hash."""
    broker.session.on_renewal_due()
    if broker.log.hw > broker.saved_hw:
        broker.saved_hw = broker.log.hw
        value = str(broker.saved_hw).encode()
        broker.context.emit(SaveState(broker.context.op(), HW_KEY, value))
    if broker.leading is not None:
        broker.session.publish(status_hash(broker))


TIMERS: Final[Mapping[str, Callable[[Broker], None]]] = MappingProxyType(
    {
        TIMER_HEARTBEAT: Broker.heartbeat,
        TIMER_RENEW: _on_renewal_due,
        TIMER_CAMPAIGN: _on_campaign_due,
        TIMER_READ: _on_read_due,
        TIMER_PROPOSAL: _on_proposal_due,
        TIMER_READERS: _on_fetch_deadline,
        TIMER_WAITERS: _on_produce_deadline,
        TIMER_STOP: _on_stop_deadline,
    }
)
"""Key of each timer that a broker sets, and what it is for."""
