"""The state of a cluster, merged from the answers of its brokers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.net.http_tools import WorldGateway, cluster, serving
from yak_core.broker.health import BrokerHealth
from yak_net.cluster import cli_status
from yak_net.cluster.cli import cluster as commands
from yak_net.cluster.errors import ClusterError
from yak_net.cluster.health import health_of
from yak_net.cluster.status import (
    Answer,
    BrokerStatus,
    ClusterStatus,
    State,
    count_stopped,
    merge,
    print_status,
)
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


@pytest.mark.parametrize(
    ("stopped", "min_isr", "serves"),
    [
        ({}, 2, True),
        ({"n3": State.DOWN}, 2, True),
        ({"n3": State.DOWN}, 3, False),
        ({"n2": State.PAUSED, "n3": State.DOWN}, 2, False),
        ({"n2": State.PAUSED, "n3": State.DOWN}, 1, True),
        ({"n2": State.DOWN, "n3": State.DOWN}, 0, True),
    ],
)
def test_processes_that_do_not_run_count_at_once(
    stopped: dict[str, State], min_isr: int, serves: bool
) -> None:
    """Goal: a leader that has not missed the acks yet is not ready. Without min ISR: its word."""
    health, view = answer("n1", "n1", 3, 7)
    rows = [replace(row, state=stopped.get(row.id, row.state)) for row in ROWS]
    isr = ["n1", "n2", "n3"]
    status = count_stopped(merge("yak", rows, {"n1": (health, {**view, "isr": isr})}), min_isr)
    assert (status.serves, status.reason == "") == (serves, serves)
    assert all(node in status.reason for node in stopped if not serves)
    assert ClusterStatus.from_dict(asdict(status)) == status


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


@pytest.mark.parametrize(
    ("answers", "down", "out_of_isr", "nouns"),
    [
        ({}, "n1 n2 n3", "", ["no broker responds"]),
        ({"n1": ["n1", "n2", "n3"], "n2": [], "n3": []}, "", "", []),
        ({"n1": ["n1", "n2", "n3"], "n2": []}, "n3", "", ["n3 does not respond"]),
        ({"n1": ["n1", "n2"], "n2": [], "n3": []}, "", "n3", ["n3 is not in the ISR"]),
        ({"n1": ["n1"], "n2": []}, "n3", "n2 n3", ["n3 does not", "n2 is not in", "n3 is not in"]),
    ],
)
def test_health_names_all_that_is_missing(
    answers: dict[str, list[str]], down: str, out_of_isr: str, nouns: list[str]
) -> None:
    """Goal: healthy only if all brokers are up and in the ISR of the leader's view."""
    found = {}
    for node, isr in answers.items():
        health, view = answer(node, "n1", 3, 7)
        found[node] = health, {**view, "isr": isr}
    health_found = health_of(merge("yak", ROWS, found))
    assert health_found.is_healthy == (not nouns)
    assert " ".join(health_found.down) == down
    assert " ".join(health_found.out_of_isr) == out_of_isr
    for noun in nouns:
        assert any(reason.startswith(noun) for reason in health_found.reasons), noun
    body = health_found.as_json()
    assert list(body) == ["healthy", "leader", "brokers", "down", "out_of_isr", "reasons"]
    assert health_found.lines()[0].split() == ["Healthy:", str(not nouns).lower()]


def test_problem_of_a_broker_is_not_healthy() -> None:
    """Goal: a leader without its store commits records, and is not healthy."""
    of_leader = answer("n1", "n1", 3, 7, status="degraded", ready=True, reason="no store")
    health, view = of_leader
    found = dict.fromkeys(("n2", "n3"), answer("n2", "n1", 3, 7))
    status = merge("yak", ROWS, found | {"n1": (health, {**view, "isr": ["n1", "n2", "n3"]})})
    assert status.serves
    assert health_of(status).reasons == ("n1: no store",)


class Late(WorldGateway):
    """The only broker of a cluster; it is ready from its third answer on."""

    answers = 0

    def health(self) -> BrokerHealth | None:
        self.answers += 1
        found = super().health()
        assert found is not None
        return found if self.answers > 2 else replace(found, is_ready=False, reason="not yet")


async def test_health_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: exit 10 while something is missing; with -e each change is printed, then exit 0.

    Method: real HTTP of brokers in a manual world.
    """
    monkeypatch.setattr(cli_status, "WATCH_S", 0.02)

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, commands, ["health", *words])

    async with serving(WorldGateway(cluster(), "n2")) as client:
        done = await run("--json", "-b", f"127.0.0.1:{client.port}")
        (row,) = map(json.loads, done.stdout.splitlines())
        assert (done.exit_code, row["healthy"], row["down"]) == (10, False, ["n1", "n3"])
    async with serving(Late(cluster(("n1",), 1))) as client:
        done = await run("-e", "--json", "-b", f"127.0.0.1:{client.port}")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.exit_code, [row["healthy"] for row in rows]) == (0, [False, True])
        assert rows[0]["reasons"] == ["n1: not yet"]
        done = await run("-b", f"127.0.0.1:{client.port}")
        assert (done.exit_code, done.stdout.split()[:2]) == (0, ["Healthy:", "true"])


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
@pytest.mark.parametrize("command", ["status", "health"])
def test_address_without_a_broker(command: str, server: str, code: int) -> None:
    """Goal: exit 1 if nothing answers, 2 for an invalid address."""
    done = CliRunner().invoke(commands, [command, "-b", server])
    assert (done.exit_code, done.stdout) == (code, ""), done.output
