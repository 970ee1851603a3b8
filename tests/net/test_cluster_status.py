"""One picture of a cluster from the answers of its brokers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from yak_net.cluster.status import BrokerStatus, ClusterStatus
from yak_net.cluster.view import Answer, merge

ROWS = tuple(
    BrokerStatus(f"n{number}", f"http://127.0.0.1:{number}", number, state="running")
    for number in (1, 2, 3)
)


def answer(node: str, leader: str | None, epoch: int, version: int, hw: int = 0) -> Answer:
    """What a broker says that believes in this leader."""
    role = "leader" if node == leader else "follower"
    health = {"status": "ok", "node": node, "role": role, "leo": hw + 1, "hw": hw}
    view: dict[str, Any] = {"leader": leader, "epoch": epoch, "version": version, "hw": hw}
    return Answer(health, view | {"isr": ["n1", "n2"], "elr": []})


def test_leaders_own_view_counts_among_equals() -> None:
    """Goal: leader, epoch, version and its high watermark, which followers learn later."""
    answers = {
        "n1": answer("n1", "n2", 3, 7, hw=4),
        "n2": answer("n2", "n2", 3, 7, hw=9),
        "n3": answer("n3", "n2", 3, 7, hw=5),
    }
    status = merge("yak", ROWS, answers)
    assert (status.leader, status.epoch, status.version, status.hw) == ("n2", 3, 7, 9)
    assert status.serves
    assert [(row.role, row.leo, row.hw, row.up) for row in status.brokers] == [
        ("follower", 5, 4, True),
        ("leader", 10, 9, True),
        ("follower", 6, 5, True),
    ]


def test_newest_view_counts() -> None:
    """Goal: the higher epoch wins, then the higher version, though the old leader believes."""
    answers = {"n1": answer("n1", "n1", 3, 9), "n2": answer("n2", "n2", 4, 8)}
    assert merge("yak", ROWS, answers).leader == "n2"
    answers = {"n1": answer("n1", "n1", 3, 9), "n3": answer("n3", None, 3, 10)}
    status = merge("yak", ROWS, answers)
    assert (status.leader, status.serves) == (None, False)


def test_leader_that_does_not_answer_does_not_serve() -> None:
    """Goal: what others believe is shown, and is not taken for a leader that serves."""
    answers = {"n1": answer("n1", "n2", 3, 7), "n2": Answer(), "n3": answer("n3", "n2", 3, 7)}
    status = merge("yak", ROWS, answers)
    assert (status.leader, status.serves) == ("n2", False)
    assert [row.up for row in status.brokers] == [True, False, True]
    ill = answer("n2", "n2", 3, 7)
    answers["n2"] = Answer(ill.health | {"status": "degraded", "reason": "it is ill"}, ill.view)
    status = merge("yak", ROWS, answers)
    assert not status.serves
    assert [row.trouble for row in status.brokers] == ["", "n2: it is ill", ""]


def test_nobody_answers() -> None:
    """Goal: everything is unknown, and said as null."""
    status = merge("yak", ROWS, {})
    assert not status.serves
    body = status.as_json()
    assert [body[name] for name in ("leader", "epoch", "hw", "version")] == [None] * 4


def test_json_is_the_object_of_the_formats() -> None:
    """Goal: the keys that docs and scripts rely on, and a way back from JSON."""
    status = merge("yak", ROWS, {"n1": answer("n1", "n1", 1, 1)})
    body = status.as_json()
    assert list(body) == ["cluster", "leader", "epoch", "isr", "elr", "hw", "version", "brokers"]
    rows = body["brokers"]
    assert isinstance(rows, list)
    assert list(rows[0]) == ["id", "url", "pid", "role", "leo", "hw", "up"]
    assert ClusterStatus.from_dict(asdict(status)) == status


def test_answers_of_somebody_else_are_no_danger() -> None:
    """Goal: a server that is no broker, under a broker's URL, makes no trouble."""
    odd = Answer({"status": 5, "role": [], "leo": "x"}, {"leader": 7, "epoch": "a", "isr": "n1"})
    status = merge("yak", ROWS, {"n1": odd})
    assert (status.leader, status.epoch, status.isr, status.serves) == (None, None, (), False)
    assert (status.brokers[0].role, status.brokers[0].leo) == (None, None)
