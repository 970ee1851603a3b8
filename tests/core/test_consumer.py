"""A consumer node by itself: whom it asks, whatever its clock says."""

from __future__ import annotations

import pytest

from yak_core.clients.consumer import Consumer
from yak_core.config import ConsumerConfig
from yak_core.contract.client_calls import Poll
from yak_core.contract.effects import Send
from yak_core.contract.events import Called, Received, Recovered, Started
from yak_core.contract.messages import FetchResponse
from yak_core.ids import CallId

BROKERS = ("n1", "n2", "n3")
MAX_AGE_US = ConsumerConfig(BROKERS).metadata_max_age_us


def target_of(effects: list[object]) -> str:
    """Where the only message goes."""
    [send] = [effect for effect in effects if isinstance(effect, Send)]
    return send.dst


@pytest.mark.parametrize("origin", [0, 10**12])
def test_first_poll_asks_the_broker_it_was_told_of(origin: int) -> None:
    """Goal: the origin of the clock means nothing (clause 3); only real age sends it elsewhere."""
    consumer = Consumer(origin, Started("c1", ConsumerConfig(BROKERS), 1, Recovered()))
    assert target_of([*consumer.step(origin + 1000, Called(CallId(1), Poll(), 0))]) == "n1"
    nothing = FetchResponse(consumer.correlation, 0, (), 0, 0, "n1", 1)  # type: ignore[arg-type]
    consumer.step(origin + 2000, Received("n1", nothing))
    later = origin + MAX_AGE_US + 1
    assert target_of([*consumer.step(later, Called(CallId(2), Poll(), 0))]) == "n2"
