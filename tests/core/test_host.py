"""What observers are told of a step that a crash cuts short."""

from __future__ import annotations

from yak_core.config import ProducerConfig
from yak_core.contract.effects import CancelTimer, Effect
from yak_core.contract.events import Event, TimerFired
from yak_core.contract.host import Host
from yak_core.contract.node import Snapshot
from yak_core.ids import Micros
from yak_core.manual.backend import ManualBackend, Transit


class Two:
    """Orders two things at every event."""

    def step(self, now: Micros, event: Event) -> list[Effect]:
        """Two effects, whatever happened."""
        return [CancelTimer("first"), CancelTimer("second")]

    def snapshot(self) -> Snapshot:
        """Nothing to see."""
        return Snapshot("two", ())

    def fork(self) -> Two:
        """Another one."""
        return Two()


class Watcher:
    """Keeps the effects that it is told of."""

    def __init__(self) -> None:
        self.told: list[Effect] = []

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        """Remember."""
        self.told += effects


def test_observers_are_told_only_of_effects_that_were_carried_out() -> None:
    """Goal: no checker believes in an effect that a crash prevented; method: a fuse of one."""
    watcher = Watcher()
    backend = ManualBackend("n1", ProducerConfig(brokers=("n1",)), lambda _node: Two(), Transit())
    host = Host("n1", 1, Two(), backend, observers=(watcher,))
    backend.host = host
    host.fuse = 1
    host.deliver(TimerFired("any"))
    assert watcher.told == [CancelTimer("first")]
    assert not host.alive
