"""The broker as a node: its table of event handlers, and its factory.

This module imports the parts of the broker, so the parts must not import it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from yak_core.broker.handlers import (
    on_call,
    on_cancelled,
    on_meta_reply,
    on_peer_lost,
    on_peer_message,
    on_timer,
)
from yak_core.broker.roles import Broker, Handlers
from yak_core.contract.effects import Effect
from yak_core.contract.events import (
    Called,
    Cancelled,
    DiskDone,
    MetaReply,
    PeerLost,
    Received,
    Started,
    StopAsked,
    TimerFired,
)
from yak_core.contract.node import Build, Node
from yak_core.ids import Micros
from yak_core.rules import Rules

HANDLERS: Final[Handlers] = MappingProxyType(
    {
        Received: on_peer_message,
        TimerFired: on_timer,
        DiskDone: Broker.on_disk_done,
        MetaReply: on_meta_reply,
        Called: on_call,
        Cancelled: on_cancelled,
        PeerLost: on_peer_lost,
        StopAsked: Broker.on_stop_asked,
    }
)


def build_broker(rules: Rules | None = None) -> Build:
    """Return a function that builds a broker with these rules from its first event."""
    decisions = Rules() if rules is None else rules

    def build(now: Micros, started: Started) -> tuple[Node, list[Effect]]:
        broker = Broker(now, started, decisions, HANDLERS)
        return broker, broker.begin()

    return build
