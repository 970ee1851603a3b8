"""The interface of the observers of a world."""

from __future__ import annotations

from typing import Protocol

from yak_core.contract.host import Observer
from yak_core.ids import NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.model.disk import DiskImage


class WorldObserver(Observer, Protocol):
    """Checks a whole world: every step, every partition state, every crash.

    ``yak_core.invariants.Invariants`` implements it. An exception from a method ends the run with a
    violation.
    """

    def on_state(self, state: PartitionState) -> None:
        """Handle a write of ``state`` by the store, before any node receives it."""

    def on_crash(self, node_id: NodeId, image: DiskImage) -> None:
        """Handle the crash of a broker; ``image`` is the content of its disk after the crash."""

    def on_damage(self, node_id: NodeId) -> None:
        """Handle the loss of flushed records on the disk of a broker that is down."""

    def allow_halt(self, node_id: NodeId) -> None:
        """Allow this broker to halt, because the scenario expects it."""
