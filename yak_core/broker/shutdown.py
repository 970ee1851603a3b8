"""The clean stop of a broker: flush the log, then save the clean marker.

The marker means that the broker epoch in it stopped with its complete log on disk. It is saved
after the flush has completed, and the broker appends nothing after it (F63).
"""

from __future__ import annotations

from typing import Final

from yak_core.broker.context import Context
from yak_core.broker.replica_log import Log
from yak_core.broker.saved_state import CLEAN_MARKER_KEY, clean_shutdown_value
from yak_core.broker.startup import Startup
from yak_core.contract.effects import SaveState, SetTimer
from yak_core.ids import BrokerEpoch, Micros, Offset, OpId

TIMER_STOP: Final = "stop"


class Shutdown:
    """The progress of a stop."""

    __slots__ = ("context", "flush_op", "log", "clean_shutdown_op")

    def __init__(self, context: Context, log: Log) -> None:
        self.context = context
        self.log = log
        self.flush_op: OpId = OpId(0)
        self.clean_shutdown_op: OpId = OpId(0)

    def begin(self, deadline_us: Micros) -> None:
        """Issue the last flush; after ``deadline_us`` the broker exits without a marker."""
        self.flush_op = self.log.new_generation()
        self.context.emit(SetTimer(TIMER_STOP, deadline_us, deadline_us))

    def restore_marker(self, startup: Startup, deadline_us: Micros) -> bool:
        """Save the marker of the last start again, because this start did not register.

        Return False if the last start left no marker.
        """
        if startup.clean_shutdown_epoch == 0:
            return False
        self._save_marker(startup.clean_shutdown_epoch, startup.clean_shutdown_leo)
        self.context.emit(SetTimer(TIMER_STOP, deadline_us, deadline_us))
        return True

    def on_disk_done(self, op: OpId, broker_epoch: BrokerEpoch) -> bool:
        """Handle the completion of a disk operation; return whether the marker is durable."""
        if op == self.flush_op and self.clean_shutdown_op == 0:
            self._save_marker(broker_epoch, self.log.leo)
        return op == self.clean_shutdown_op != 0

    def _save_marker(self, broker_epoch: BrokerEpoch, leo: Offset) -> None:
        self.clean_shutdown_op = self.context.new_op()
        value = clean_shutdown_value(broker_epoch, leo)
        self.context.emit(SaveState(self.clean_shutdown_op, CLEAN_MARKER_KEY, value))
