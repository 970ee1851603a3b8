"""Nodes of tests that take ``Started`` as a step like any other."""

from __future__ import annotations

from collections.abc import Callable

from yak_core.contract.effects import Effect
from yak_core.contract.events import Started
from yak_core.contract.node import Build, Node
from yak_core.ids import Micros, NodeId


def stepped(make: Callable[[NodeId], Node]) -> Build:
    """What makes a node of its id and lets it take its first event as a step."""

    def build(now: Micros, started: Started) -> tuple[Node, list[Effect]]:
        node = make(started.node)
        return node, node.step(now, started)

    return build
