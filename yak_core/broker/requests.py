"""Which part of a broker answers a client's request; must never hold state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yak_core.broker.describe import describe
from yak_core.contract.effects import Answer
from yak_core.contract.events import Called
from yak_core.contract.messages import (
    DescribeRequest,
    FetchRequest,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ProduceRequest,
)
from yak_core.errors import ErrorCode
from yak_core.ids import CallId

if TYPE_CHECKING:
    from yak_core.broker.roles import Broker


def answer_call(broker: Broker, event: Called) -> None:
    """Answer at once, or let the request wait."""
    request = event.request
    leading = broker.leading
    if isinstance(request, DescribeRequest):
        broker.desk.emit(Answer(event.call, describe(broker, request)))
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
            leading.pump_all()
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
        broker.desk.emit(
            Answer(
                call,
                ListOffsetsResponse(request.correlation, error, -1, -1, leader, broker.epoch),
            )
        )
