"""What a broker does when one of its timers runs out; must never hold state.

Each part names the timer that it sets; this is the one table from the names to what they are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yak_core.broker.describe import advisory_view
from yak_core.broker.election import TIMER_CANDIDACY, stand
from yak_core.broker.fetch import TIMER_READERS
from yak_core.broker.produce import TIMER_WAITERS
from yak_core.broker.saved_state import HW_KEY
from yak_core.broker.shutdown import TIMER_STOP
from yak_core.broker.store_session import TIMER_BEAT, TIMER_PROPOSAL, TIMER_READ
from yak_core.contract.effects import SaveState, SetTimer
from yak_core.contract.events import TimerFired

if TYPE_CHECKING:
    from yak_core.broker.roles import Broker

TIMER_HEARTBEAT: Final = "heartbeat"


def run_out(broker: Broker, event: TimerFired) -> None:
    """A timer fired; while stopping, only the stop's own counts."""
    key = event.key
    if key == TIMER_STOP:
        broker.exit(clean=False)
    elif broker.phase == "stopping":
        return
    elif key == TIMER_HEARTBEAT:
        heartbeat(broker)
    elif key == TIMER_BEAT:
        _beat(broker)
    elif key == TIMER_CANDIDACY:
        if broker.leading is None:
            stand(broker.desk, broker.session, broker.view, broker.incarnation)
    elif key == TIMER_READ:
        broker.session.order_read()
    elif key == TIMER_PROPOSAL:
        broker.session.resend()
    elif key == TIMER_READERS:
        broker.readers.expire(broker.leader, broker.epoch)
    elif key == TIMER_WAITERS:
        broker.writers.expire()
    else:
        raise ValueError(f"nobody sets a timer called {key}")


def heartbeat(broker: Broker) -> None:
    """A leader speaks to its followers, and sets the timer for the next time."""
    if broker.leading is not None:
        period = broker.desk.config.heartbeat_us
        broker.desk.emit(SetTimer(TIMER_HEARTBEAT, period, period))
        broker.leading.on_heartbeat()


def _beat(broker: Broker) -> None:
    """Beat; checkpoint the high watermark; publish the advisory view."""
    broker.session.on_beat_timer()
    if broker.log.hw > broker.saved_hw:
        broker.saved_hw = broker.log.hw
        value = str(broker.saved_hw).encode()
        broker.desk.emit(SaveState(broker.desk.op(), HW_KEY, value))
    if broker.leading is not None:
        broker.session.publish(advisory_view(broker))
