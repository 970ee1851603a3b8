"""The handler tables of a broker are complete, and its phases follow the table."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

import yak_core.broker
from tests.core.brokers import cluster, produce
from tests.core.test_fork import world
from yak_core.broker.handlers import PEER_MESSAGES, REQUESTS, TIMERS
from yak_core.broker.node import HANDLERS
from yak_core.broker.phases import FINAL_PHASES, TRANSITIONS, Phase, Role
from yak_core.broker.roles import Broker
from yak_core.config import SECOND
from yak_core.contract.effects import Effect, Halt, TruncateLog
from yak_core.contract.events import Event, NotSent, Received, Started, StopAsked, TimerFired
from yak_core.contract.host import Host
from yak_core.contract.messages import PeerMessage, Replicate, Request
from yak_core.ids import NO_EPOCH, Epoch
from yak_core.manual.backend import ManualBackend
from yak_core.manual.run import advance


def test_every_event_but_the_first_has_a_handler() -> None:
    """Method: compare the table with the union; NotSent is for clients only."""
    assert set(HANDLERS) == set(get_args(Event)) - {Started, NotSent}


def test_every_message_of_a_peer_and_every_request_has_a_handler() -> None:
    """Method: compare the tables with the unions."""
    assert set(PEER_MESSAGES) == set(get_args(PeerMessage))
    assert set(REQUESTS) == set(get_args(Request))


def test_every_timer_that_is_set_has_a_handler() -> None:
    """Method: the constants TIMER_* of all modules of the broker."""
    keys: list[str] = []
    for path in Path(yak_core.broker.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            target = node.target if isinstance(node, ast.AnnAssign) else target
            if isinstance(target, ast.Name) and target.id.startswith("TIMER_"):
                keys.append(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    assert sorted(keys) == sorted(TIMERS)


def test_the_host_has_a_method_for_every_effect() -> None:
    """Method: compare its table with the union."""
    made = world()
    host = made.host("n1")
    assert isinstance(host, Host)
    assert isinstance(host.backend, ManualBackend)
    assert set(host._methods) == set(get_args(Effect))


def test_phases_and_roles_have_a_row_each() -> None:
    """Method: compare the table of transitions with the enums."""
    assert list(TRANSITIONS) == [*Phase, *Role]
    assert FINAL_PHASES == (Phase.STOPPED, Phase.HALTED)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_phase_is_followed_by_those_of_the_table_only(phase: Phase) -> None:
    """Method: every pair of phases, on a live broker."""
    made = world()
    for other in Phase:
        broker = made.host("n1").node.fork()
        assert isinstance(broker, Broker)
        broker.phase = phase
        if other is phase or other in TRANSITIONS[phase]:
            broker._enter(other)
            assert broker.phase is other
        else:
            with pytest.raises(AssertionError):
                broker._enter(other)


def test_an_unknown_timer_is_refused() -> None:
    """Method: fire a timer that no part sets."""
    broker = world().host("n1").node
    with pytest.raises(ValueError, match="sundial"):
        broker.step(10**12, TimerFired("sundial"))


def test_committed_records_are_not_truncated() -> None:
    """A follower whose leader lacks committed records halts. Method: such a message."""
    made = cluster()
    produce(made, "n1", b"a")
    advance(made, SECOND)
    broker = made.host("n2").node
    assert isinstance(broker, Broker)
    assert broker.log.hw == 1
    later = Epoch(broker.epoch + 1)
    lacking = Replicate(later, "n3", 0, 0, NO_EPOCH, (), 0, 0, 1)
    effects = broker.step(10**12, Received("n3", lacking))
    assert isinstance(effects[-1], Halt)
    assert "offset 0" in effects[-1].reason
    assert "high watermark 1" in effects[-1].reason
    assert not any(isinstance(effect, TruncateLog) for effect in effects)


def test_only_its_deadline_ends_a_stopping_broker() -> None:
    """Method: fire each timer during a stop."""
    made = world()
    for key in TIMERS:
        broker = made.host("n1").node.fork()
        broker.step(10**12, StopAsked(1_000_000))
        broker.step(10**12, TimerFired(key))
        assert broker.snapshot().get("phase") == ("stopped" if key == "stop" else "stopping")
