"""Checks of clause 5 for requests of a client; see :mod:`tests.conformance.checks`."""

from __future__ import annotations

from typing import Final

from tests.conformance.bench import (
    SECOND,
    Bench,
    Maker,
    Probe,
    Violation,
    batch,
    happened,
    quiet,
    ready_client,
)
from yak_core.contract.effects import Send
from yak_core.contract.events import Called, NotSent
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import NO_EPOCH

MS: Final = 1_000


def request_without_a_connection_is_reported(maker: Maker) -> None:
    """Send requests to a broker that is down: each is reported, and no later one is."""
    bench, client, orders = ready_client(maker)
    bench.crash("n2")
    orders.give(*(Send("n2", produce(number)) for number in range(1, 6)))
    happened(bench, lambda: len(reported(client)) == 5, "five reports")
    assert sorted(reported(client)) == [1, 2, 3, 4, 5]
    late = Probe()
    bench.start("n2", late)
    orders.give(Send("n2", produce(6)))
    happened(bench, lambda: requested(bench) != [], "the request after the restart")
    quiet(bench)
    assert requested(bench) == [6]
    assert len(reported(client)) == 5


def reported_request_is_never_delivered(maker: Maker) -> None:
    """Crash the broker while requests are sent: none of them is both reported and delivered."""
    bench, client, orders = ready_client(maker)
    last = 0
    for number in range(1, 61, 10):
        orders.give(*(Send("n2", produce(n)) for n in range(number, number + 5)))
        # Let some of the requests arrive, or none.
        wanted = last + (number % 3)
        bench.run_until(lambda wanted=wanted: len(requested(bench)) >= wanted, MS)  # type: ignore[misc]
        bench.crash("n2")
        orders.give(*(Send("n2", produce(n)) for n in range(number + 5, number + 10)))
        happened(bench, lambda n=number: n + 9 in reported(client), "the last report")  # type: ignore[misc]
        bench.start("n2", Probe())
        orders.give(Send("n2", produce(1000 + number)))
        happened(bench, lambda n=number: 1000 + n in requested(bench), "the next request")  # type: ignore[misc]
        last = len(requested(bench))
    quiet(bench)
    both = set(reported(client)) & set(requested(bench))
    if both:
        raise Violation(f"requests {sorted(both)} were reported as never sent and delivered")


def produce(number: int) -> ProduceRequest:
    """Return a request with a number."""
    return ProduceRequest(number, NO_EPOCH, -1, SECOND, batch(0, -1, b"x"))


def reported(client: Probe) -> list[int]:
    """Return the numbers of the requests that were reported as never sent."""
    return [event.correlation for event in client.events(NotSent)]


def requested(bench: Bench) -> list[int]:
    """Return the numbers of the requests that n2 received over all starts."""
    return [
        event.request.correlation
        for event in bench.monitor.taken_by("n2")
        if isinstance(event, Called) and isinstance(event.request, ProduceRequest)
    ]
