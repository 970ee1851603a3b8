"""What a broker makes of another broker's message: epochs first; must never hold state.

The order of the guards is the protocol's: a message of an epoch that is over is refused, a higher
epoch is entered before anything else is looked at, and only then the role decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yak_core.contract.effects import Send
from yak_core.contract.events import Received
from yak_core.contract.messages import Fenced, Replicate, ReplicateAck, ReplicateReject
from yak_core.contract.notes import FencedPeer, IgnoredMessage
from yak_core.ids import Epoch, NodeId

if TYPE_CHECKING:
    from yak_core.broker.roles import Broker


def take_in(broker: Broker, event: Received) -> None:
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
        broker.desk.note(IgnoredMessage(src, "Replicate", "another leader's"))
        return
    verdict = broker.rules.accept_replicate(
        broker.epoch, broker.leader, message.epoch, message.leader
    )
    if verdict == "fenced":
        broker.desk.note(FencedPeer(src, message.epoch))
        broker.desk.emit(Send(src, Fenced(broker.epoch, broker.leader)))
        return
    if verdict == "conflict":
        broker.halt(
            f"two leaders for epoch {broker.epoch}: {broker.leader} and {message.leader} (F81)"
        )
        return
    if verdict == "adopt":
        broker.raise_epoch(message.epoch, message.leader)
    if broker.leading is None:
        broker.follower.on_replicate(message, broker.epoch, broker.incarnation)


def _leads(broker: Broker, seen: Epoch) -> bool:
    """A higher epoch in an answer ends the own leadership; True while it stands."""
    if seen > broker.epoch:
        broker.raise_epoch(seen, None)
    return broker.leading is not None
