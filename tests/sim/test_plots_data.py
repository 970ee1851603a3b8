"""The data that plots read from a trace: offsets, leaders, ISR, faults, acknowledged writes.

Method: short made-up traces with known numbers.
"""

from __future__ import annotations

import pytest

from scenarios.leader_failover import leader_failover
from tests.sim.plot_samples import Tale, failover
from yak_core.batch import Batch
from yak_core.config import MS, SECOND
from yak_core.contract.effects import Answer, Exit
from yak_core.contract.events import Called
from yak_core.contract.messages import ProduceRequest, ProduceResponse
from yak_core.contract.notes import (
    BecameFollower,
    BecameLeader,
    IsrExpanded,
    IsrShrunk,
    SteppedDown,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import CallId, Epoch
from yak_core.trace.recorder import Header, Trace
from yak_sim import run_scenario
from yak_sim.plot.data import PlotData, Points, Span, Truncation, plot_data_of, value_at

POINTS: Points = [(10, 1), (20, 5), (20, 6), (30, None), (40, 2)]


def broker(past: PlotData, node: str) -> int:
    """Return the index of a broker."""
    return [each.node for each in past.brokers].index(node)


@pytest.mark.parametrize(
    ("at", "value"), [(9, None), (10, 1), (19, 1), (20, 6), (29, 6), (30, None), (41, 2)]
)
def test_a_curve_holds_its_value_until_the_next(at: int, value: int | None) -> None:
    """The later of two values at one time counts."""
    assert value_at(POINTS, at) == value


def test_the_ends_of_a_failover_are_read() -> None:
    """Goal: LEO and HW of each broker. Method: the made-up failover at several times."""
    past = plot_data_of(failover())
    n1, n2, n3 = past.brokers
    assert [each.node for each in past.brokers] == ["n1", "n2", "n3"]
    assert value_at(n1.leo, 1_999 * MS) == 93
    assert value_at(n1.hw, 1_999 * MS) == 88
    assert [(crash.at_us, crash.leo, crash.hw) for crash in n1.crashes] == [(2 * SECOND, 93, 88)]
    assert value_at(n1.leo, 3 * SECOND) is None, "a broker that is down has no log end"
    assert value_at(n1.leo, 6_010 * MS) == 92, "the log after the crash"
    assert n1.truncations == [Truncation(6_060 * MS, 92, 88)]
    assert value_at(n1.leo, 6_070 * MS) == 88
    assert value_at(n2.hw, 4 * SECOND) == value_at(n3.hw, 4 * SECOND) == 88
    assert n1.up == [Span(0, 2 * SECOND), Span(6 * SECOND, past.end_us)]


def test_leaders_and_the_time_without_one_are_read() -> None:
    """Method: the made-up failover."""
    past = plot_data_of(failover())
    assert [(reign.node, reign.epoch, reign.start_us) for reign in past.leaderships] == [
        ("n1", 1, 30 * MS),
        ("n3", 2, 5_300 * MS),
    ]
    assert past.leaderless() == [Span(0, 30 * MS), Span(2 * SECOND, 5_300 * MS)]


def test_a_deposed_leader_leads_in_its_own_row_only() -> None:
    """Goal: two leaders are two bars. Method: the old leader learns of the new epoch late."""
    tale = Tale(2)
    for node in tale.nodes:
        tale.start(0, node)
    tale.note(1 * SECOND, "n1", BecameLeader(Epoch(1), 0))
    tale.note(3 * SECOND, "n2", BecameLeader(Epoch(2), 0))
    tale.note(5 * SECOND, "n1", SteppedDown(Epoch(1), Epoch(2), 0), BecameFollower(Epoch(2), "n2"))
    past = plot_data_of(tale.trace())
    assert [(reign.start_us, reign.end_us) for reign in past.leaderships] == [
        (1 * SECOND, 3 * SECOND),
        (3 * SECOND, 5 * SECOND),
    ]
    own = past.brokers[broker(past, "n1")].leaderships
    assert [(reign.start_us, reign.end_us) for reign in own] == [(1 * SECOND, 5 * SECOND)]
    assert past.leaderless() == [Span(0, 1 * SECOND)]


def test_the_isr_is_that_of_the_newest_record_seen() -> None:
    """Goal: late records change nothing. Method: notes and records in the wrong order."""
    tale = Tale(3)
    for node in tale.nodes:
        tale.start(0, node)
    tale.note(10, "n1", IsrExpanded(("n1", "n2", "n3"), ("n2",), 4))
    tale.isr(20, 6, "n1", "n3")
    tale.note(30, "n2", IsrShrunk(("n1", "n2"), ("n3",), 5))
    tale.note(40, "n3", IsrShrunk(("n1", "n3"), ("n2",), 6))
    past = plot_data_of(tale.trace())
    assert past.isr == [(10, ("n1", "n2", "n3")), (20, ("n1", "n3"))]


def test_ends_of_faults() -> None:
    """Method: each way in which a fault can end."""
    tale = Tale(3)
    for node in tale.nodes:
        tale.start(0, node)
    tale.fault(100, "partition", "n1|n2,n3", 50)
    tale.fault(200, "disconnect", "n1>n2")
    tale.fault(210, "disconnect", "n1>n3")
    tale.fault(250, "heal", "n1>n2")
    tale.fault(300, "pause", "n2")
    tale.fault(330, "resume", "n2")
    tale.fault(400, "store_outage", "store", 500)
    tale.fault(420, "store_back", "store")
    tale.fault(500, "stall_disk", "n3", 5_000)
    tale.fault(600, "crash", "n3")
    tale.fault(700, "reset", "n1|n2")
    tale.fault(750, "crash_within_step", "n1")
    tale.start(800, "n3", 4)
    tale.fault(900, "crash", "n2")
    tale.note(1_000, "n1")
    past = plot_data_of(tale.trace())
    assert [(fault.kind, fault.start_us, fault.end_us) for fault in past.faults] == [
        ("partition", 100, 150),
        ("disconnect", 200, 250),
        ("disconnect", 210, 1_000),
        ("pause", 300, 330),
        ("store_outage", 400, 420),
        ("stall_disk", 500, 600),
        ("crash", 600, 800),
        ("reset", 700, 700),
        ("crash_within_step", 750, 750),
        ("crash", 900, 1_000),
    ]


def test_a_start_without_a_known_end_ends_with_its_last_step() -> None:
    """Goal: real traces without faults. Method: a second start, and an exit."""
    tale = Tale(1)
    tale.start(0, "n1")
    tale.append(100, "n1", 0, 3, Epoch(1))
    tale.start(500, "n1", 3, 2)
    tale.step(
        700, "n1", Called(CallId(9), ProduceRequest(1, Epoch(1), 1, 1, _batch(2)), 0), Exit(True)
    )
    tale.step(900, "n1", Called(CallId(9), ProduceRequest(1, Epoch(1), 1, 1, _batch(2)), 0))
    past = plot_data_of(tale.trace())
    assert past.brokers[0].up == [Span(0, 100), Span(500, 700)]
    assert past.brokers[0].leo == [(0, 0), (100, 3), (100, None), (500, 3), (700, None)]
    assert past.brokers[0].hw == [(0, 0), (100, None), (500, 2), (700, None)]


def test_acknowledged_writes_are_the_results_of_producers() -> None:
    """Method: one written and one unknown batch."""
    tale = Tale(1)
    tale.start(0, "n1")
    tale.ack(10, 30, 0, 5)
    tale.ack(20, 90, -1, 2, Outcome.UNKNOWN)
    acks = plot_data_of(tale.trace()).acks
    assert [(a.start_us, a.end_us, a.count, a.offset, a.outcome) for a in acks] == [
        (10, 30, 5, 0, Outcome.WRITTEN),
        (20, 90, 2, -1, Outcome.UNKNOWN),
    ]


def test_without_producer_nodes_the_brokers_answers_are_the_ticks() -> None:
    """Goal: traces of real clusters. Method: a request and its answer at a broker."""
    tale = Tale(1)
    tale.start(0, "n1")
    request = ProduceRequest(1, Epoch(1), -1, 1, _batch(3))
    answer = ProduceResponse(1, ErrorCode.NONE, Outcome.WRITTEN, 7, Epoch(1), 10, "n1", Epoch(1))
    tale.step(10, "n1", Called(CallId(4), request, 0))
    tale.step(40, "n1", Called(CallId(5), request, 0), Answer(CallId(4), answer))
    acks = plot_data_of(tale.trace()).acks
    assert [(a.start_us, a.end_us, a.count, a.offset) for a in acks] == [(10, 40, 3, 7)]


def test_ten_brokers_are_in_the_order_of_their_numbers() -> None:
    """n10 comes after n9."""
    tale = Tale(11)
    for node in reversed(tale.nodes):
        tale.start(0, node)
    assert [each.node for each in plot_data_of(tale.trace()).brokers] == list(tale.nodes)


def test_a_real_cluster_has_an_origin_of_its_own() -> None:
    """Goal: time starts at 0. Method: one trace with the header of each world."""
    tale = Tale(1)
    tale.start(5 * SECOND, "n1")
    trace = Trace(Header("net"))
    for step in list(tale.trace())[1:]:
        trace.record(*step[1:7])
    assert plot_data_of(trace).start_us == 5 * SECOND
    assert plot_data_of(tale.trace()).start_us == 0


def test_curves_end_at_the_values_of_the_brokers() -> None:
    """Method: compare the last values with the live brokers."""
    result = run_scenario(leader_failover, 7)
    past = plot_data_of(result.trace)
    for each in past.brokers:
        view = result.world.broker(each.node)
        assert (each.leo[-2][1], each.hw[-2][1]) == (view.leo, view.hw)
    assert [reign.epoch for reign in past.leaderships] == [1, 2]
    assert past.isr[-1][1] == ("n1", "n2", "n3")
    [crashed] = [each for each in past.brokers if each.crashes]
    assert crashed.node == past.leaderships[0].node
    assert crashed.truncations[0].before - crashed.truncations[0].end == 2


def _batch(count: int) -> Batch:
    return Batch(0, Epoch(1), count, 1, 0, 0, 0, 61, 0, b"")
