"""Every world keeps the contract between a node and its world, and each check can fail.

Method: each clause of docs/contract.md has checks, which run on a bench of each world. For each
check there are backends that break just its clause; the check must reject them.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from tests.conformance import broken, broken_disk, checks, checks_client, checks_disk
from tests.conformance.bench import SECOND, Maker, Probe, batch
from tests.conformance.bench_manual import ManualBench
from tests.conformance.bench_net import NetBench
from tests.conformance.bench_sim import SimBench
from tests.conformance.broken import Broken
from tests.conformance.checks import Check
from tests.core.brokers import isr
from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.config import BrokerConfig
from yak_core.contract.events import Received
from yak_core.contract.messages import ProduceRequest, Replicate
from yak_core.ids import Epoch
from yak_core.manual.run import advance, settle
from yak_core.manual.world import Manual

CLAUSES: dict[int, tuple[Check, ...]] = {
    1: (checks.one_step_at_a_time,),
    2: (
        checks.effects_start_before_the_next_event,
        checks_disk.order_of_effects_decides_what_is_read,
    ),
    3: (checks.time_is_whole_and_never_goes_back,),
    4: (
        checks.timer_fires_once_and_never_early,
        checks.replaced_timer_does_not_fire,
        checks.cancelled_timer_does_not_fire,
    ),
    5: (
        checks.fair_network_delivers_what_was_sent,
        checks.stormy_network_invents_nothing,
        checks_client.request_without_a_connection_is_reported,
        checks_client.reported_request_is_never_delivered,
    ),
    6: (
        checks_disk.writes_complete_once_in_issue_order,
        checks_disk.read_waits_for_no_write,
        checks_disk.ships_whole_batches_within_bounds,
        checks_disk.shipment_is_of_the_moment_of_the_order,
        checks_disk.answer_carries_whole_batches,
        checks_disk.full_disk_appends_nothing,
    ),
    7: (
        checks.store_answers_each_call_once,
        checks.store_out_of_reach_answers_unknown,
        checks.lost_reply_is_unknown_and_may_have_happened,
    ),
    8: (
        checks_disk.only_what_was_flushed_survives,
        checks_disk.same_session_means_nothing_is_lost,
        checks_disk.nothing_of_the_old_life_arrives,
        checks_disk.node_that_is_down_takes_nothing_in,
    ),
    9: (checks_disk.bytes_stay_as_they_are,),
    10: (
        checks.exception_of_a_step_halts_and_is_heard,
        checks.exception_of_a_backend_halts_and_is_heard,
        checks.exception_of_an_observer_halts_and_is_heard,
    ),
}
"""Clause number to its checks."""

CHECKS = [
    pytest.param(check, id=f"{n}-{check.__name__}") for n, all_ in CLAUSES.items() for check in all_
]


@pytest.fixture(params=["manual", "sim", "net"])
def maker(
    request: pytest.FixtureRequest, tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[Maker]:
    """Yield a maker of benches of one world, and close the benches.

    The waits of the real world, in which nothing must happen, are longer among the long tests.
    """
    haste = 15 if "not long" in pytestconfig.getoption("-m") else 3
    if request.param != "net":
        yield {"manual": ManualBench, "sim": SimBench}[request.param]
        return
    made: list[NetBench] = []

    def make(stormy: bool) -> NetBench:
        path = tmp_path / str(len(made))
        path.mkdir()
        made.append(NetBench(path, stormy, haste))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


BROKEN = (*broken.BROKEN, *broken_disk.BROKEN)


@pytest.mark.parametrize("check", CHECKS)
def test_backend_keeps_the_clause(maker: Maker, check: Check) -> None:
    """Run one check on one world."""
    check(maker)


def test_every_clause_has_a_check_and_every_check_a_broken_backend() -> None:
    """There are ten clauses, and each check has a backend that fails it."""
    assert list(CLAUSES) == list(range(1, 11))
    checked = {check for all_ in CLAUSES.values() for check in all_}
    assert {check for case in BROKEN for check in case.rejected_by} == checked


def test_the_document_names_every_check_under_its_clause() -> None:
    """docs/contract.md has a section for each clause, in order, with the clause's checks."""
    text = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    sections = re.split(r"^## (?=\d+\. )", text, flags=re.MULTILINE)[1:]
    assert [section.split(".")[0] for section in sections] == [str(number) for number in CLAUSES]
    for section, all_ in zip(sections, CLAUSES.values(), strict=True):
        assert [check.__name__ for check in all_ if f"`{check.__name__}`" not in section] == []


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{case.backend.__name__}-{check.__name__}")
        for case in BROKEN
        for check in case.rejected_by
    ],
)
def test_suite_rejects_a_broken_backend(case: Broken, check: Check) -> None:
    """Run the check on a manual world whose backend breaks the clause: it must fail."""
    with pytest.raises(AssertionError):
        check(lambda stormy: ManualBench(stormy, case.backend))


def test_a_broker_keeps_no_payload() -> None:
    """Clause 9 for nodes: after 200 batches no broker holds a byte of their payload.

    Method: search all objects reachable from each node; a probe, which keeps events, is caught.
    """
    world = Manual()
    config = BrokerConfig(("n1", "n2", "n3"))
    for node_id in config.replicas:
        world.add(node_id, config, build_broker())
        world.start(node_id)
        settle(world)
    assert advance(world, 10 * SECOND, lambda: isr(world) == config.replicas)
    for _ in range(200):
        world.call("n1", ProduceRequest(0, Epoch(-1), -1, SECOND, batch(0, -1, PAYLOAD)))
        advance(world, SECOND // 100)
    advance(world, SECOND)
    brokers = [world.host(node_id).node for node_id in config.replicas]
    assert [payloads_in(node) for node in brokers] == [0, 0, 0]
    assert all(isinstance(node, Broker) and node.hw == 200 for node in brokers)
    probe = Probe()
    probe.step(
        0,
        Received(
            "n1", Replicate(Epoch(1), "n1", 0, 0, Epoch(-1), (batch(0, 1, PAYLOAD),), 0, 0, 1)
        ),
    )
    assert payloads_in(probe) == 1


PAYLOAD = b"payload of records"


def payloads_in(root: object) -> int:
    """Return the number of bytes objects with PAYLOAD that are reachable from ``root``."""
    found = 0
    known: dict[int, object] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in known or isinstance(one, type | ModuleType | FunctionType):
            continue
        known[id(one)] = one
        found += isinstance(one, bytes) and PAYLOAD in one
        waiting += gc.get_referents(one)
    return found
