"""Kinds of things that happen to a simulated cluster, by the words of plans, traces and options."""

from __future__ import annotations

from enum import StrEnum


class ProcessEnd(StrEnum):
    """How a process ended by itself; ``fuse`` is a crash set to come between two effects."""

    HALT = "halt"
    EXIT = "exit"
    FUSE = "fuse"


class Loss(StrEnum):
    """What a crash takes from a disk.

    ``nothing``: no write is lost. ``unsynced``: every write that was not flushed. ``some``: a drawn
    number of those, from the end. ``torn``: the last batch, torn in the middle of its write.
    """

    NOTHING = "nothing"
    UNSYNCED = "unsynced"
    SOME = "some"
    TORN = "torn"

    @classmethod
    def _missing_(cls, value: object) -> Loss:
        raise ValueError(f"lose must be one of {', '.join(cls)}, got {value!r}")


class LinkFault(StrEnum):
    """What a network fault does to its links."""

    DISCONNECT = "disconnect"
    CLOG = "clog"
    SLOW = "slow"
    DISTURB = "disturb"


class StoreKind(StrEnum):
    """What carries out the calls of the metadata store.

    ``model`` is plain Python; ``lua`` the scripts of the real store on a fake Redis in the process,
    some hundred times slower.
    """

    MODEL = "model"
    LUA = "lua"

    @classmethod
    def _missing_(cls, value: object) -> StoreKind:
        raise ValueError(f"store must be one of {', '.join(cls)}, got {value!r}")
