"""Every error as a problem: status, outcome and retry of each code."""

from __future__ import annotations

import itertools
from dataclasses import replace
from http import HTTPStatus

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from tests.net.http_tools import ScriptedGateway, problem, records_of, serving, url
from yak_core.contract.messages import (
    DescribeRequest,
    DescribeResponse,
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ProduceRequest,
    ProduceResponse,
    Request,
    Response,
)
from yak_core.errors import RETRIABLE, ErrorCode, Outcome
from yak_core.ids import Epoch
from yak_net.http.gateway import BrokerStopped, Phase
from yak_net.http.problems import HTTP_FORMS
from yak_net.http.routes import middlewares

REFUSALS = [code for code in ErrorCode if HTTP_FORMS[code].status != 200]
PRODUCED = ProduceResponse(0, ErrorCode.NONE, Outcome.WRITTEN, 4, Epoch(2), 5, "n2", Epoch(3))
FETCHED = FetchResponse(0, ErrorCode.NONE, (), 5, 1, "n2", Epoch(3))
LISTED = ListOffsetsResponse(0, ErrorCode.NONE, 5, Epoch(2), "n2", Epoch(3))


def gateway_with(**fields: object) -> ScriptedGateway:
    """Return a gateway that sets these fields in its answers, where an answer has them."""

    def answer(request: Request) -> Response:
        usual: Response = FETCHED
        if isinstance(request, ProduceRequest):
            usual = PRODUCED
        elif isinstance(request, ListOffsetsRequest):
            usual = LISTED
        known = {name: value for name, value in fields.items() if hasattr(usual, name)}
        return replace(usual, **known)  # type: ignore[arg-type]

    return ScriptedGateway(answer)


def test_every_code_has_a_status() -> None:
    """The table is complete, and only success and a duplicate are 200."""
    assert set(HTTP_FORMS) == set(ErrorCode)
    statuses = {code: HTTPStatus(kind.status) for code, kind in HTTP_FORMS.items()}
    assert [code for code, status in statuses.items() if status < 400] == [
        ErrorCode.NONE,
        ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
    ]
    assert all(kind.title for kind in HTTP_FORMS.values())


@pytest.mark.parametrize(
    ("code", "outcome"),
    list(itertools.product(REFUSALS, (Outcome.NOT_WRITTEN, Outcome.UNKNOWN))),
    ids=str,
)
async def test_a_produce_answer_becomes_its_problem(code: ErrorCode, outcome: Outcome) -> None:
    """Return each code with each outcome: check status, name, outcome and Retry-After."""
    unknown = outcome is Outcome.UNKNOWN
    status = HTTP_FORMS[code].status
    if code is ErrorCode.NOT_LEADER_OR_FOLLOWER and unknown:
        status = 503

    async with serving(gateway_with(error=code, outcome=outcome)) as client:
        answer = await client.post(
            "/v1/records?redirect=1", json=records_of("a"), allow_redirects=False
        )
        if status == 421:
            assert answer.status == 307
            answer = await client.post("/v1/records", json=records_of("a"))
        body = await problem(answer, status, code.name)
        assert body["error_code"] == code
        assert body["retriable"] == (code in RETRIABLE)
        assert body["outcome"] == ("unknown" if unknown else "not_written")
        assert ("may or may not" in body["detail"]) == unknown
        assert body["leader"] == {"id": "n2", "url": url("n2")}
        assert (body["leader_epoch"], body["high_watermark"]) == (3, 5)
        assert ("Retry-After" in answer.headers) == (status in (429, 503) and not unknown)


@pytest.mark.parametrize("code", REFUSALS, ids=str)
async def test_a_read_answer_becomes_its_problem(code: ErrorCode) -> None:
    """Return each code to a fetch and an offset lookup: the same status, no outcome."""

    async with serving(gateway_with(error=code, detail="so it is")) as client:
        for offset in ("3", "latest"):
            answer = await client.get(f"/v1/records?offset={offset}")
            body = await problem(answer, HTTP_FORMS[code].status, code.name)
            assert "outcome" not in body
            assert body["leader_epoch"] == 3
            assert ("high_watermark" in body) == (offset == "3")


async def test_a_duplicate_is_a_success_at_its_first_offset() -> None:
    """Return a duplicate: 200 with the offset of the first append."""
    gateway = gateway_with(error=ErrorCode.DUPLICATE_SEQUENCE_NUMBER)

    async with serving(gateway) as client:
        answer = await client.post("/v1/records", json=records_of("a", "b"))
        assert answer.status == 200
        assert await answer.json() == {"base_offset": 4, "count": 2, "epoch": 2, "hw": 5}


async def test_no_redirect_loop() -> None:
    """Return the broker itself, or one without a URL, as leader: 503, or 421 without Location."""

    gateway = gateway_with(
        error=ErrorCode.NOT_LEADER_OR_FOLLOWER, outcome=Outcome.NOT_WRITTEN, leader="n1"
    )
    async with serving(gateway) as client:
        answer = await client.post("/v1/records?redirect=1", json=records_of("a"))
        body = await problem(answer, 503, "NOT_LEADER_OR_FOLLOWER")
        assert body["leader"] == {"id": "n1", "url": url("n1")}
    gateway = gateway_with(
        error=ErrorCode.NOT_LEADER_OR_FOLLOWER, outcome=Outcome.NOT_WRITTEN, leader="n9"
    )
    async with serving(gateway) as client:
        answer = await client.post("/v1/records?redirect=1", json=records_of("a"))
        body = await problem(answer, 421, "NOT_LEADER_OR_FOLLOWER")
        assert body["leader"] == {"id": "n9", "url": None}


@pytest.mark.parametrize("sent", [False, True])
async def test_a_stopped_broker_reports_the_outcome(sent: bool) -> None:
    """Stop the broker before and after the request reached it: not written, and unknown."""
    gateway = ScriptedGateway(lambda _: BrokerStopped(sent))
    gateway.phase = Phase.STOPPING

    async with serving(gateway) as client:
        answer = await client.post("/v1/records", json=records_of("a"))
        body = await problem(answer, 503, "NETWORK_EXCEPTION")
        assert body["outcome"] == ("unknown" if sent else "not_written")
        assert ("Retry-After" in answer.headers) == (not sent)
        assert "stopping" in body["detail"]
        body = await problem(await client.get("/fetch"), 503, "NETWORK_EXCEPTION")
        assert "outcome" not in body


async def test_a_bug_is_logged_and_not_shown() -> None:
    """Raise in the gateway: 500 without the reason, unknown for a produce, and a log line."""
    gateway = ScriptedGateway(lambda _: RuntimeError("the secret"))

    async with serving(gateway) as client:
        with capture_logs() as logs:
            answer = await client.post("/v1/records", json=records_of("a"))
            body = await problem(answer, 500, "UNKNOWN_SERVER_ERROR")
            assert body["error_code"] == -1
            assert body["outcome"] == "unknown"
            assert "secret" not in await answer.text()
            assert "RuntimeError" not in await answer.text()
            body = await problem(await client.get("/fetch"), 500, "UNKNOWN_SERVER_ERROR")
            assert "outcome" not in body
            await problem(await client.get("/health"), 500, "UNKNOWN_SERVER_ERROR")
        assert [(entry["method"], entry["path"]) for entry in logs] == [
            ("POST", "'/v1/records'"),
            ("GET", "'/fetch'"),
            ("GET", "'/health'"),
        ]


async def test_an_answer_of_the_wrong_type_is_a_bug() -> None:
    """Answer a fetch with a description: 500 without its content."""
    description = DescribeResponse(0, "n1", "leader", "n1", Epoch(1), 1, (), (), 0, 0, 0, ())

    async with serving(ScriptedGateway(lambda _: description)) as client:
        with capture_logs() as logs:
            await problem(await client.get("/fetch"), 500, "UNKNOWN_SERVER_ERROR")
        assert len(logs) == 1


async def test_unknown_paths_and_methods_are_problems() -> None:
    """Request an unknown path, then an unknown method: 404 and 405 with the valid ones."""

    async with serving(gateway_with()) as client:
        body = await problem(await client.get("/v1/nothing"), 404, "INVALID_REQUEST")
        assert "GET /" in body["detail"]
        answer = await client.delete("/v1/records")
        body = await problem(answer, 405, "INVALID_REQUEST")
        assert answer.headers["Allow"] == "GET,HEAD,POST"
        assert "outcome" not in body
        for method in ("OPTIONS", "TRACE", "PATCH"):
            await problem(await client.request(method, "/fetch"), 405, "INVALID_REQUEST")


async def test_a_started_answer_is_not_answered_again() -> None:
    """Raise in a WebSocket handler: a log line, and the connection ends without HTTP."""

    async def fail(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        raise RuntimeError("the secret")

    app = web.Application(middlewares=middlewares())
    app.router.add_get("/ws", fail)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        with capture_logs() as logs:
            async with client.ws_connect("/ws") as socket:
                assert (await socket.receive()).type is WSMsgType.CLOSED
        assert [entry["path"] for entry in logs] == ["'/ws'"]


async def test_requests_reach_the_node_with_their_options() -> None:
    """Post and fetch with every option: compare the requests at the node."""
    gateway = gateway_with()

    async with serving(gateway) as client:
        await client.post("/v1/records", json={**records_of("a"), "acks": 1, "timeout_ms": 7})
        await client.post("/v1/records", json=records_of("a"))
        await client.get("/v1/records?offset=9&max_bytes=10&wait_ms=11")
        await client.get("/v1/records?offset=latest")
        await client.get("/v1/cluster")
    first, second, fetch, listing, latest, describe = gateway.asked
    assert isinstance(first, ProduceRequest)
    assert (first.acks, first.timeout_us, first.leader_epoch) == (1, 7_000, -1)
    assert isinstance(second, ProduceRequest)
    assert (second.acks, second.timeout_us) == (-1, 30_000_000)
    assert fetch == FetchRequest(0, 9, Epoch(-1), Epoch(-1), 10, 11_000)
    assert listing == ListOffsetsRequest(0, -1)
    assert latest == FetchRequest(0, 5, Epoch(-1), Epoch(-1), 1 << 20, 0)
    assert describe == DescribeRequest(0)
