"""What the machines of one world share; must never be specific to one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from yak_core.contract.host import Observer, Recorder
from yak_core.contract.notes import Note
from yak_core.ids import NodeId
from yak_core.model.disk import DiskImage
from yak_sim.physics.choices import Choices
from yak_sim.physics.clock import Clock
from yak_sim.physics.network import Network
from yak_sim.physics.topology import Topology


@dataclass(slots=True)
class MachineShared:
    """What all machines of a world share, and whom they tell.

    ``on_ended(node, how, reason)``: a process ended by itself; ``how`` is a value of ProcessEnd.
    """

    clock: Clock
    network: Network
    choices: Choices
    topology: Topology
    recorder: Recorder | None
    observers: tuple[Observer, ...]
    on_note: Callable[[NodeId, Note], None]
    on_crash: Callable[[NodeId, DiskImage], None]
    on_ended: Callable[[NodeId, str, str], None]
