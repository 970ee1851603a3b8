"""The phases and roles of a broker, and the transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias


class Phase(StrEnum):
    """The phase of a start of a broker."""

    RECOVERING = "recovering"
    """The clean-shutdown marker is being deleted."""
    REGISTERING = "registering"
    """The partition state is being read; then this start is registered in it."""
    RUNNING = "running"
    """The broker leads or follows, and handles the requests of clients and peers."""
    STOPPING = "stopping"
    """A stop was requested: the log is flushed, then the clean-shutdown marker is saved."""
    STOPPED = "stopped"
    """The broker has exited; without the marker if the stop timed out."""
    HALTED = "halted"
    """The broker ended itself, because continuing could break a guarantee."""


# Nearly every step reads these two. In Python 3.11 access to an enum attribute takes ten times as
# long as access to a global name.
RUNNING: Final = Phase.RUNNING
STOPPING: Final = Phase.STOPPING


class Role(StrEnum):
    """The role of a broker; a broker leads only in the phase ``RUNNING``."""

    FOLLOWER = "follower"
    """The broker appends what the leader sends; without a live leader, it may campaign."""
    LEADER = "leader"
    """The broker appends the records of producers and replicates them to the followers."""


State: TypeAlias = Phase | Role

TRANSITIONS: Final[Mapping[State, tuple[State, ...]]] = MappingProxyType(
    {
        Phase.RECOVERING: (Phase.REGISTERING, Phase.STOPPING, Phase.HALTED),
        Phase.REGISTERING: (Phase.RUNNING, Phase.STOPPING, Phase.HALTED),
        Phase.RUNNING: (Phase.STOPPING, Phase.HALTED),
        Phase.STOPPING: (Phase.STOPPED, Phase.HALTED),
        Phase.STOPPED: (),
        Phase.HALTED: (),
        Role.FOLLOWER: (Role.LEADER,),
        Role.LEADER: (Role.FOLLOWER,),
    }
)
"""Each phase and role with its possible successors."""

FINAL_PHASES: Final = tuple(phase for phase in Phase if not TRANSITIONS[phase])
"""The final phases; a broker ignores all events in them."""
