"""The state of a cluster, merged from the answers of its brokers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from click.testing import CliRunner

from tests.net.http_tools import WorldGateway, cluster, serving
from yak_net.cluster.cli import cluster as commands
from yak_net.cluster.errors import ClusterError
from yak_net.cluster.status import Answer, BrokerStatus, ClusterStatus, State, merge, print_status
from yak_net.cluster.status_requests import remote_status

ROWS = tuple(
    BrokerStatus(f"n{number}", f"http://127.0.0.1:{number}", number, state=State.RUNNING)
    for number in (1, 2, 3)
)


def answer(
    node: str, leader: str | None, epoch: int, version: int, hw: int = 0, **health: Any
) -> Answer:
    """Return the answers of a broker with this leader in its partition state."""
    role = "leader" if node == leader else "follower"
    view: dict[str, Any] = {"leader": leader, "epoch": epoch, "version": version, "hw": hw}
    health = {"status": "ok", "role": role, "leo": hw + 1, "hw": hw} | health
    return health, view | {"isr": [], "elr": []}


def test_leaders_own_view_counts_among_equals() -> None:
    """Goal: the leader's own epoch, version and high watermark win over the followers'."""
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


@pytest.mark.parametrize(
    ("answers", "leader"),
    [
        ({"n1": answer("n1", "n1", 3, 9), "n2": answer("n2", "n2", 4, 8)}, "n2"),
        ({"n1": answer("n1", "n1", 3, 9), "n3": answer("n3", None, 3, 10)}, None),
    ],
)
def test_newest_view_counts(answers: dict[str, Answer], leader: str | None) -> None:
    """Goal: the higher epoch wins, then the higher version."""
    status = merge("yak", ROWS, answers)
    assert (status.leader, status.serves) == (leader, leader is not None)


@pytest.mark.parametrize(
    ("of_leader", "trouble"),
    [
        (({}, {}), ""),
        (
            answer("n2", "n2", 3, 7, status="degraded", ready=False, reason="it is ill"),
            "n2: it is ill",
        ),
    ],
)
def test_unhealthy_leader_is_not_ready(of_leader: Answer, trouble: str) -> None:
    """Goal: a leader counts only if it is ready by its own judgement."""
    answers = {"n1": answer("n1", "n2", 3, 7), "n2": of_leader}
    status = merge("yak", ROWS, answers)
    assert (status.leader, status.serves) == ("n2", False)
    assert status.reason == (trouble or "the leader n2 does not respond; an election follows")
    assert status.brokers[1].up == bool(trouble)
    assert [row.problem for row in status.brokers] == ["", trouble, ""]


def test_degraded_leader_may_be_ready() -> None:
    """Goal: a cluster whose store is out of reach is usable, and the reason is shown."""
    of_leader = answer("n1", "n1", 3, 7, status="degraded", ready=True, reason="no store")
    status = merge("yak", ROWS, {"n1": of_leader})
    assert (status.serves, status.reason) == (True, "")
    assert status.brokers[0].problem == "n1: no store"


def test_reason_for_no_leader_names_who_may_lead() -> None:
    """Goal: the brokers to start, if none of them runs; else what a candidate says."""
    health, view = answer("n3", None, 3, 9, status="degraded", ready=False, reason="elsewhere")
    down = {"n3": (health, {**view, "isr": ["n1"], "elr": ["n2"]})}
    assert "n1, n2" in merge("yak", ROWS, down).reason
    up = {"n3": (health, {**view, "isr": ["n3"], "elr": []})}
    assert merge("yak", ROWS, up).reason == "n3: elsewhere"
    no_leader = {"n3": (health, {**view, "isr": [], "elr": []})}
    assert merge("yak", ROWS, no_leader).reason == "n3: elsewhere"


def test_no_answer_leaves_everything_unknown() -> None:
    """Goal: null for unknown values."""
    status = merge("yak", ROWS, {})
    assert (status.serves, status.reason) == (False, "no broker responds")
    body = status.as_json()
    assert [body[name] for name in ("leader", "epoch", "hw", "version")] == [None] * 4


def test_json_is_the_object_of_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: the documented keys, a round trip through JSON, and a table."""
    status = merge("yak", ROWS, {"n1": answer("n1", "n1", 1, 1)})
    body = status.as_json()
    names = ["cluster", "leader", "epoch", "isr", "elr", "hw", "version", "brokers"]
    assert list(body) == [*names, "ready", "reason"]
    names = ["id", "url", "pid", "role", "leo", "hw", "up", "ready", "reason"]
    assert list(body["brokers"][0]) == names
    assert ClusterStatus.from_dict(asdict(status)) == status
    print_status(status)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("cluster yak: leader n1, epoch 1")
    assert [line.split()[:2] for line in lines[2:]] == [["n1", "ok"], ["n2", "no"], ["n3", "no"]]


async def test_cluster_of_another_machine() -> None:
    """Goal: one address is enough for the whole cluster; an old address still counts.

    Method: brokers in a manual world with real HTTP; only the given one has a valid URL.
    """
    async with serving(WorldGateway(cluster(), "n2")) as client:
        base = str(client.make_url("")).rstrip("/")
        status = await remote_status([base, "http://127.0.0.1:1"])
    assert (status.cluster, status.leader, status.epoch) == ("test", "n1", 1)
    assert [(row.id, row.up, row.pid) for row in status.brokers] == [
        ("n1", False, None),
        ("n2", True, None),
        ("n3", False, None),
    ]
    assert (status.serves, "n1" in status.reason) == (False, True)
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1"):
        await remote_status(["http://127.0.0.1:1"])


@pytest.mark.parametrize(
    ("server", "code"), [("127.0.0.1:1", 1), ("ftp://x", 2), ("", 2), (",", 2)]
)
def test_address_without_a_broker(server: str, code: int) -> None:
    """Goal: exit 1 if nothing answers, 2 for an invalid address."""
    done = CliRunner().invoke(commands, ["status", "-b", server])
    assert (done.exit_code, done.stdout) == (code, ""), done.output
