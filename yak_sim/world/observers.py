"""What a world asks of the observers that it is given."""

from __future__ import annotations

from typing import Protocol

from yak_core.contract.host import Observer
from yak_core.ids import NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.model.disk import DiskImage


class WorldObserver(Observer, Protocol):
    """Checks a whole world: every step, every record of the store, every crash.

    ``yak_core.invariants.Invariants`` is one. What a method raises ends the run and fails it.
    """

    def on_state(self, state: PartitionState) -> None:
        """The store accepted ``state``; no node knows of it yet."""

    def on_crash(self, node_id: NodeId, image: DiskImage) -> None:
        """A broker crashed; ``image`` is what its disk kept."""

    def allow_halt(self, node_id: NodeId) -> None:
        """The scenario expects that this broker halts."""
