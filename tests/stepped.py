"""Test nodes that handle ``Started`` like any other event."""

from __future__ import annotations

from collections.abc import Callable

from yak_core.contract.effects import Effect
from yak_core.contract.events import Started
from yak_core.contract.node import Build, Node
from yak_core.ids import Micros, NodeId


def stepped(make: Callable[[NodeId], Node]) -> Build:
    """Return a build function that makes a node by its id and steps it with ``Started``."""

    def build(now: Micros, started: Started) -> tuple[Node, list[Effect]]:
        node = make(started.node)
        return node, node.step(now, started)

    return build
