"""What a script yields: events at a time, after a duration, or when a condition holds.

All times and durations are whole microseconds, written as ``seconds(0.5)`` or ``millis(20)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import simpy

from yak_core.ids import Micros, NodeId
from yak_sim.physics.topology import check_micros, seconds
from yak_sim.world.clients import SimProducer
from yak_sim.world.cluster import Cluster
from yak_sim.world.expect import ExpectationFailed
from yak_sim.world.loop import Loop, name_of
from yak_sim.world.probes import unconverged

READY_WITHIN: Final = seconds(10)
PATIENCE: Final = seconds(30)
"""The default limits of waits for the cluster."""


class Waits(Cluster):
    """The waits of one world. Each method returns an event, and a script yields it."""

    loop: Loop
    producers: list[SimProducer]

    def at(self, time_us: Micros) -> simpy.Event:
        """Resume at this time since the start, now if it has passed."""
        return self._timeout("at", max(0, check_micros("the time", time_us) - self.now_us))

    def sleep(self, duration_us: Micros) -> simpy.Event:
        """Resume after this duration."""
        return self._timeout("sleep", check_micros("the duration", duration_us))

    def until(
        self, holds: Callable[[], bool], *, within: Micros | None = None, what: str = ""
    ) -> simpy.Event:
        """Resume when ``holds()`` is true. The condition is checked after every event.

        Raise ExpectationFailed in the script after ``within`` microseconds. ``what`` describes the
        condition in that error.
        """
        limit = f"{(within or 0) / 1e6:g} s"
        return self._until(
            "until",
            holds,
            within,
            f"Within {limit}: {what or name_of(holds)}",
            f"the condition true within {limit}",
            lambda: f"it false after {limit}",
        )

    def until_ready(self, *, within: Micros = READY_WITHIN) -> simpy.Event:
        """Resume when there is a leader and all brokers are in the ISR."""
        return self._until(
            "until_ready",
            lambda: self.leader is not None and self.isr == self.brokers,
            within,
            "The cluster is ready",
            f"a leader and all brokers in the ISR within {within / 1e6:g} s",
            lambda: f"leader {self.leader}, ISR {', '.join(self.isr) or 'empty'}",
        )

    def until_isr(self, nodes: Iterable[NodeId], *, within: Micros = PATIENCE) -> simpy.Event:
        """Resume when the ISR in the partition state has exactly these brokers."""
        wanted = tuple(sorted(nodes))
        for node in wanted:
            self._machine(node)
        return self._until(
            "until_isr",
            lambda: self.isr == wanted,
            within,
            f"The ISR becomes {', '.join(wanted)}",
            f"the ISR {', '.join(wanted)} within {within / 1e6:g} s",
            lambda: f"the ISR {', '.join(self.isr) or 'empty'}",
        )

    def until_down(self, node: NodeId, *, within: Micros = PATIENCE) -> simpy.Event:
        """Resume when the process of a broker has ended: by a crash, a stop or a halt."""
        machine = self._machine(node)
        return self._until(
            "until_down",
            lambda: not machine.up,
            within,
            f"{node} goes down",
            f"{node} down within {within / 1e6:g} s",
            lambda: f"{node} still running",
        )

    def until_back(self, node: NodeId, *, within: Micros = PATIENCE) -> simpy.Event:
        """Resume when a broker runs, has registered, is not stopping and is in the ISR.

        A broker that stopped without a failure can be in the ISR for some time while it is down;
        it is back only when its process runs, too. There can be no leader at this time, such as
        after the restart of the leader: :meth:`until_ready` waits for one, too.
        """

        def back() -> bool:
            view = self.broker(node)
            return view.up and view.ready and node in self.isr

        def found() -> str:
            view = self.broker(node)
            return f"{node} {view.role}, {'in' if node in self.isr else 'not in'} the ISR"

        self._machine(node)
        expected = f"{node} running and in the ISR within {within / 1e6:g} s"
        return self._until("until_back", back, within, f"{node} comes back", expected, found)

    def until_converged(self, *, within: Micros = PATIENCE) -> simpy.Event:
        """Resume when all brokers are in the ISR with equal logs.

        Every record is committed on every broker and no producer has a pending batch.
        """

        def reason() -> str | None:
            outstanding = sum(producer.outstanding for producer in self.producers)
            return unconverged(self.engine, self.brokers, outstanding)

        return self._until(
            "until_converged",
            lambda: reason() is None,
            within,
            "The cluster converges",
            f"all brokers to converge within {within / 1e6:g} s",
            lambda: reason() or "they converged after the timeout",
        )

    def _timeout(self, method: str, duration_us: Micros) -> simpy.Event:
        return self.loop.made(method, self.engine.clock.env.timeout(duration_us))

    def _until(
        self,
        method: str,
        holds: Callable[[], bool],
        within: Micros | None,
        sentence: str,
        expected: str,
        found: Callable[[], str],
    ) -> simpy.Event:
        if within is not None:
            check_micros("within", within)

        def failure() -> Exception:
            return ExpectationFailed(sentence, expected, found())

        return self.loop.made(method, self.loop.until(holds, within, failure))
