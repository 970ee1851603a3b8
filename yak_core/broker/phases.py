"""The phases of a broker's incarnation and its roles, and what may follow what."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias


class Phase(StrEnum):
    """How far an incarnation has come."""

    RECOVERING = "recovering"
    """The clean-shutdown marker is being deleted."""
    REGISTERING = "registering"
    """The record is being read, then this incarnation written into it."""
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    HALTED = "halted"


# In Python 3.11 an attribute of an enum costs ten times as much as a global name: these two are
# asked for in nearly every step.
RUNNING: Final = Phase.RUNNING
STOPPING: Final = Phase.STOPPING


class Role(StrEnum):
    """What a broker does with the log; it leads only while it is running."""

    FOLLOWER = "follower"
    LEADER = "leader"


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
"""Each phase and role, and those that may come next."""

OVER: Final = tuple(phase for phase in Phase if not TRANSITIONS[phase])
"""A broker in one of these takes in no event."""
