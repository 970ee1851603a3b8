"""The objects that all machines of one world share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from yak_core.contract.host import Observer, Recorder
from yak_core.contract.notes import Note
from yak_core.ids import NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.model.disk import DiskImage
from yak_sim.physics.choices import Choices
from yak_sim.physics.clock import Clock
from yak_sim.physics.network import Network
from yak_sim.physics.topology import Topology


def _ignore(*_arguments: object) -> None:
    """Ignore a notification: there is no listener."""


@dataclass(slots=True)
class Listener:
    """Callbacks for notes, crashes, ended processes and accepted partition states.

    ``on_process_end(node, end, reason)``: ``end`` is a value of ProcessEnd.
    """

    on_note: Callable[[NodeId, Note], None] = _ignore
    on_crash: Callable[[NodeId, DiskImage], None] = _ignore
    on_process_end: Callable[[NodeId, str, str], None] = _ignore
    on_state: Callable[[PartitionState], None] = _ignore


@dataclass(slots=True)
class MachineShared:
    """The shared objects of a world, the recorder, the observers and the listener."""

    clock: Clock
    network: Network
    choices: Choices
    topology: Topology
    recorder: Recorder | None
    observers: tuple[Observer, ...]
    listener: Listener
