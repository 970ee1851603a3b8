"""A plain stop: flush, then the clean marker, last of all; must never leave a marker too early.

The marker says that this incarnation stopped with everything on disk. It is written after the flush
completed, and nothing is appended after it (F63).
"""

from __future__ import annotations

from typing import Final

from yak_core.broker.context import Desk
from yak_core.broker.replica_log import Log
from yak_core.broker.saved_state import CLEAN_KEY, marker_value
from yak_core.broker.startup import Startup
from yak_core.contract.effects import SaveState, SetTimer
from yak_core.ids import Incarnation, Micros, Offset, OpId

TIMER_STOP: Final = "stop"


class Shutdown:
    """How far the stop has come."""

    __slots__ = ("desk", "flush_op", "log", "marker_op")

    def __init__(self, desk: Desk, log: Log) -> None:
        self.desk = desk
        self.log = log
        self.flush_op: OpId = 0
        self.marker_op: OpId = 0

    def begin(self, deadline_us: Micros) -> None:
        """Order the last flush; give up, without a marker, when the time is over."""
        self.flush_op = self.log.new_generation()
        self.desk.emit(SetTimer(TIMER_STOP, deadline_us, deadline_us))

    def put_back(self, startup: Startup, deadline_us: Micros) -> bool:
        """The stop came before the registration: the last life's marker still holds, if any."""
        if startup.marker == 0:
            return False
        self._mark(startup.marker, startup.marker_leo)
        self.desk.emit(SetTimer(TIMER_STOP, deadline_us, deadline_us))
        return True

    def on_disk_done(self, op: OpId, incarnation: Incarnation) -> bool:
        """A disk operation completed; True once the marker is durable."""
        if op == self.flush_op and self.marker_op == 0:
            self._mark(incarnation, self.log.leo)
        return op == self.marker_op != 0

    def _mark(self, incarnation: Incarnation, leo: Offset) -> None:
        self.marker_op = self.desk.op()
        value = marker_value(incarnation, leo)
        self.desk.emit(SaveState(self.marker_op, CLEAN_KEY, value))

    def fork(self, desk: Desk, log: Log) -> Shutdown:
        """A copy on another desk and log."""
        other = Shutdown(desk, log)
        other.flush_op = self.flush_op
        other.marker_op = self.marker_op
        return other
