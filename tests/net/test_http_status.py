"""/health, /readyz, /livez, /v1/cluster and / with real brokers in every state."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.net.brokers import ROOT
from tests.net.http_tools import (
    NODES,
    SECOND,
    ScriptedGateway,
    WorldGateway,
    cluster,
    problem,
    records_of,
    serving,
    url,
)
from yak_core.contract.events import Received
from yak_core.contract.messages import Fenced
from yak_core.ids import Epoch
from yak_core.manual.run import advance
from yak_core.manual.world import STORE
from yak_net.http.gateway import BrokerStopped, Gateway, Phase


async def health(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    """Return the answer of /health, after a comparison with the probes."""
    async with serving(gateway) as client:
        found = {}
        for path in ("/health", "/readyz", "/livez"):
            answer = await client.get(path)
            assert answer.content_type == "application/json"
            assert answer.headers["Cache-Control"] == "no-store"
            found[path] = (answer.status, await answer.json())
    code, body = found["/health"]
    assert found["/readyz"] == (code, {"ready": body["ready"], "reason": body["reason"]})
    assert body["ready"] == (code == 200)
    live, why = found["/livez"]
    halted = gateway.phase is Phase.HALTED
    assert (live, why["live"]) == ((503, False) if halted else (200, True))
    assert why["reason"] == (body["reason"] if halted else "")
    return code, body


@pytest.mark.parametrize("node", ["n1", "n2"])
async def test_ready_brokers_are_healthy(node: str) -> None:
    """Request at the leader and a follower: 200 with role and own state."""
    gateway = WorldGateway(cluster(), node)
    assert await health(gateway) == (
        200,
        {
            "status": "ok",
            "ready": True,
            "reason": "",
            "node": node,
            "role": "leader" if node == "n1" else "follower",
            "leader": "n1",
            "epoch": 1,
            "leo": 0,
            "hw": 0,
            "isr": list(NODES),
        },
    )


@pytest.mark.parametrize(
    ("phase", "why", "status", "reason"),
    [
        (Phase.STARTING, "", "starting", "starting"),
        (Phase.STOPPING, "", "stopping", "stopping"),
        (Phase.HALTED, "no space", "degraded", "halted: no space"),
        (Phase.RUNNING, "", "degraded", "stopped"),
    ],
)
async def test_a_process_without_a_node_is_not_healthy(
    phase: Phase, why: str, status: str, reason: str, gateway: WorldGateway
) -> None:
    """Request in each phase without a node: 503, all else is null."""
    gateway.world.crash("n1")
    gateway.phase, gateway.halt_reason = phase, why
    unknown = dict.fromkeys(("role", "leader", "epoch", "leo", "hw", "isr"))
    code, body = await health(gateway)
    assert reason in body.pop("reason")
    assert (code, body) == (503, {"status": status, "ready": False, "node": "n1", **unknown})


async def test_a_stopping_broker_is_not_healthy_but_knows_its_log(gateway: WorldGateway) -> None:
    """Request between the stop request and the end: 503 with LEO and HW."""
    gateway.phase = Phase.STOPPING
    code, view = await health(gateway)
    assert (code, view["status"], view["leo"]) == (503, "stopping", 0)


async def test_a_broker_that_has_not_registered_is_starting() -> None:
    """Request at a node that cannot reach the store: 503 without leader and ISR."""
    world = cluster()
    world.crash("n2")
    world.held["n2", STORE] = None
    world.start("n2")
    code, view = await health(WorldGateway(world, "n2"))
    assert (code, view["status"], view["leader"], view["isr"]) == (503, "starting", None, [])


async def test_a_broker_without_a_leader_is_degraded() -> None:
    """Send a follower a later epoch with an unknown leader: 503, no leader."""
    gateway = WorldGateway(cluster(), "n2")
    gateway.world.held["n2", STORE] = None
    gateway.world.backend("n2").deliver(Received("n3", Fenced(Epoch(9), None)))
    code, view = await health(gateway)
    assert (code, view["status"], view["role"]) == (503, "degraded", "follower")
    assert "leader" in view["reason"]


async def test_without_an_eligible_replica_the_reason_names_the_page() -> None:
    """All brokers lose power with flush=os: 503, and the reason names an existing section."""
    world = cluster(flush="os")
    for node in NODES:
        world.crash(node)
    for node in NODES:
        world.start(node)
        advance(world, 1_000_000)
    for node in NODES:
        code, view = await health(WorldGateway(world, node))
        assert (code, view["status"], view["leader"], view["isr"]) == (503, "degraded", None, [])
        found = re.search(r"(docs/\S+\.md)#(\S+)", view["reason"])
        assert found is not None, view["reason"]
        titles = re.findall(r"^##+ (.+)$", (ROOT / found[1]).read_text(), re.MULTILINE)
        assert found[2] in [title.lower().replace(" ", "-") for title in titles]


async def test_a_leader_that_cannot_commit_is_degraded_and_not_ready() -> None:
    """Kill both followers: 503 with the reason after the lag time; 200 when one is back."""
    gateway = WorldGateway(cluster(), "n1")
    for node in ("n2", "n3"):
        gateway.world.crash(node)
    assert (await health(gateway))[0] == 200
    gateway.move(3 * SECOND)
    code, view = await health(gateway)
    assert (code, view["status"], view["role"]) == (503, "degraded", "leader")
    assert "n2, n3" in view["reason"]
    gateway.world.start("n2")
    gateway.move(SECOND)
    assert (await health(gateway))[0] == 200


async def test_a_leader_that_commits_without_the_store_is_degraded_and_ready() -> None:
    """Cut all brokers off from the store: 200 with the reason."""
    gateway = WorldGateway(cluster(), "n1")
    for node in NODES:
        gateway.world.transit.disconnected[node, STORE] = None
    gateway.move(10 * SECOND)
    code, view = await health(gateway)
    assert (code, view["status"], view["ready"]) == (200, "degraded", True)
    assert "store" in view["reason"]


async def test_a_leader_knows_how_far_the_others_are(gateway: WorldGateway) -> None:
    """Write and request at the leader: its own LEO and HW, the LEO of the others, not their HW."""

    async def test() -> dict[str, Any]:
        async with serving(gateway) as client:
            await client.post("/v1/records", json=records_of("a", "b"))
            answer = await client.get("/v1/cluster")
            assert answer.status == 200
            found: dict[str, Any] = await answer.json()
            return found

    row = {"role": "follower", "leo": 2, "hw": None, "up": None}
    view = await test()
    assert isinstance(view.pop("version"), int)
    assert view == {
        "cluster": "test",
        "leader": "n1",
        "epoch": 1,
        "isr": list(NODES),
        "elr": [],
        "hw": 2,
        "brokers": [
            {"id": "n1", "url": url("n1"), "role": "leader", "leo": 2, "hw": 2, "up": True},
            {"id": "n2", "url": url("n2"), **row},
            {"id": "n3", "url": url("n3"), **row},
        ],
    }


async def test_a_follower_knows_only_itself() -> None:
    """Request at a follower: unknown values are null."""

    async with serving(WorldGateway(cluster(), "n2")) as client:
        found = await (await client.get("/v1/cluster")).json()
    rows = {row["id"]: row for row in found["brokers"]}
    names = ("role", "leo", "hw", "up")
    assert [rows["n1"][name] for name in names] == ["leader", None, None, None]
    assert [rows["n2"][name] for name in names] == ["follower", 0, 0, True]


async def test_the_cluster_of_a_broker_that_is_down_is_a_problem() -> None:
    """Request the cluster without a node, and with a parameter: 503, then 400."""

    async with serving(ScriptedGateway(lambda _: BrokerStopped(sent=False))) as client:
        await problem(await client.get("/v1/cluster"), 503, "NETWORK_EXCEPTION")
        body = await problem(await client.get("/v1/cluster?a=1"), 400, "INVALID_REQUEST")
        assert "parameter 'a'" in body["detail"]


async def test_the_index_lists_every_endpoint() -> None:
    """Read /: it has each route of the application, and examples with this broker's URL."""

    async with serving(WorldGateway(cluster())) as client:
        text = await (await client.get("/")).text()
        assert f"curl {url('n1')}/v1/records" in text
        for route in client.app.router.routes():
            assert route.resource is not None
            if route.method != "HEAD":
                words = f"{route.method} {route.resource.canonical} "
                assert words in " ".join(text.split()) + " "
