"""``yak describe``: the replicas side by side.

Goal: each number is that of the replica it stands beside, and what does not answer is named.
Method: the merge of made-up answers; a real cluster is in test_cluster_faults.py.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.net.client_commands import one_broker, running, yak
from yak_net.cluster.status import BrokerStatus, ClusterStatus, State
from yak_net.observe.cli_describe import problems, summary
from yak_net.observe.replicas import Replica, described

A, B, C = "http://h:1", "http://h:2", "http://h:3"


def answered(node: str, url: str, **fields: Any) -> BrokerStatus:
    """Return the status of a broker that answers."""
    given = {"role": "follower", "leo": 10, "hw": 8, "up": True, "health": "ok", "ready": True}
    return BrokerStatus(node, url, state=State.RUNNING, **{**given, **fields})


def rows_of(brokers: tuple[BrokerStatus, ...], **known: dict[str, Any]) -> dict[str, Replica]:
    """Return the replicas of a cluster with the leader n1 and the ISR n1, n2, by id."""
    status = ClusterStatus("yak", "n1", 3, ("n1", "n2"), ("n3",), 8, 7, brokers, True)
    return {row.id: row for row in described(status, known).replicas}


def test_the_lag_is_the_distance_to_the_leaders_log_end() -> None:
    """Goal: LEO, HW and lag of each replica; method: a follower that is behind."""
    leader = answered("n1", A, role="leader", leo=10)
    rows = rows_of((leader, answered("n2", B, leo=7, hw=6)), n2={"leo": 5, "lag_ms": 40})
    assert (rows["n1"].lag, rows["n2"].lag) == (0, 3)
    assert (rows["n2"].leo, rows["n2"].hw, rows["n2"].lag_ms) == (7, 6, 40)
    assert (rows["n2"].in_isr, rows["n2"].in_elr) == (True, False)


def test_a_replica_that_does_not_answer_is_shown_as_the_leader_knows_it() -> None:
    """Goal: the leader's view, and a reason; method: a broker without an answer."""
    silent = BrokerStatus("n3", C, state=State.RUNNING)
    row = rows_of((answered("n1", A, role="leader"), silent), n3={"leo": 4})["n3"]
    assert (row.leo, row.lag, row.hw, row.up, row.in_elr) == (4, 6, None, False, True)
    assert "n3" in row.reason
    assert C in row.reason


def test_without_the_leaders_answer_no_lag_is_known() -> None:
    """Goal: no guess; method: the leader does not answer, and a follower does."""
    silent = BrokerStatus("n1", A, state=State.RUNNING)
    rows = rows_of((silent, answered("n2", B)))
    assert rows["n2"].lag is None
    assert (rows["n1"].leo, rows["n1"].lag) == (None, None)


def test_a_cluster_that_is_not_ready_says_why() -> None:
    """Goal: the reasons of the cluster and of its brokers; method: no leader."""
    down = answered("n1", A, ready=False, health="degraded", reason="no leader is known")
    found = described(ClusterStatus("yak", brokers=(down,)), {})
    assert not found.ready
    assert [line.split(":")[0] for line in problems(found)] == ["not ready", "n1"]
    assert "Leader: none" in summary(found)


def test_no_broker_is_an_error() -> None:
    """Goal: exit code 1 without output; method: an address where nothing listens."""
    done = yak("describe", "-b", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"Error: ")


def test_watching_prints_each_change_and_ends_with_a_signal(tmp_path: Path) -> None:
    """Goal: one JSON object a change, 0 after Ctrl-C; method: a record while it watches."""
    with one_broker(tmp_path) as broker:
        words = ("describe", "--watch", "--json", "--interval", "20ms", "-b", broker.url)
        with running(*words) as process:
            before = json.loads(process.stdout.readline())
            assert (before["leader"], before["isr"], before["ready"]) == ("n1", ["n1"], True)
            assert [row["leo"] for row in before["replicas"]] == [0]
            assert yak("produce", "-b", broker.url, "--message", "a").returncode == 0
            ends: list[int] = []
            while not ends or ends[-1] < 1:
                ends += [json.loads(process.stdout.readline())["replicas"][0]["leo"]]
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0
        plain = yak("describe", "-b", broker.url)
        assert plain.returncode == 0
        assert b"Leader: n1\tEpoch: 1\tIsr: n1\t" in plain.stdout
