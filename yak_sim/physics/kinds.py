"""The enums of the simulator; their values appear in plans, traces and options."""

from __future__ import annotations

from enum import StrEnum


class ProcessEnd(StrEnum):
    """How a process ended; ``crash_point`` is a crash after a given number of effects."""

    HALT = "halt"
    EXIT = "exit"
    CRASH_POINT = "crash_point"


class Loss(StrEnum):
    """The writes that a crash loses from a disk.

    ``nothing``: no write, because only the process ended; the storage session goes on. With each
    other value the machine crashed, and a new storage session begins. ``unsynced``: all unflushed
    writes. ``some``: a random number of the last unflushed writes. ``torn``: the last batch, whose
    write is incomplete.
    """

    NOTHING = "nothing"
    UNSYNCED = "unsynced"
    SOME = "some"
    TORN = "torn"

    @classmethod
    def _missing_(cls, value: object) -> Loss:
        raise ValueError(f"lose must be one of {', '.join(cls)}, got {value!r}")


class LinkFault(StrEnum):
    """The kinds of network faults."""

    DISCONNECT = "disconnect"
    CLOG = "clog"
    SLOW = "slow"
    DISTURB = "disturb"


class StoreKind(StrEnum):
    """The implementation of the metadata store.

    ``model`` is plain Python. ``lua`` runs the scripts of the real store on fakeredis in the same
    process, and is about 100 times slower.
    """

    MODEL = "model"
    LUA = "lua"

    @classmethod
    def _missing_(cls, value: object) -> StoreKind:
        raise ValueError(f"store must be one of {', '.join(cls)}, got {value!r}")
