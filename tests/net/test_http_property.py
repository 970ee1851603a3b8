"""Any request gets a success or a problem, and the log agrees with the answer.

One server and one broker serve all examples: a broken invariant shows at its example or the next.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.net.http_tools import JSON, Client, WorldGateway, cluster, problem, serving

Api = tuple[asyncio.Runner, WorldGateway, Client]

REFUSED = {400: ("INVALID_REQUEST", "INVALID_REQUIRED_ACKS"), 413: ("MESSAGE_TOO_LARGE",)}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with asyncio.Runner() as runner:
        gateway = WorldGateway(cluster(("n1",), 1))
        stack = AsyncExitStack()

        async def start() -> Client:
            return await stack.enter_async_context(serving(gateway, batch_bytes_max=2000))

        yield runner, gateway, runner.run(start())
        runner.run(stack.aclose())


texts = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
documents = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
)
any_value = scalars | st.lists(scalars, max_size=3)
coded = st.binary(max_size=20).map(lambda content: base64.b64encode(content).decode())
headers = st.lists(
    st.fixed_dictionaries(
        {"key": texts}, optional={"value": texts | st.none(), "value_b64": coded | any_value}
    ),
    max_size=3,
)
invalid = st.fixed_dictionaries(
    {},
    optional={
        "value": texts | any_value,
        "value_b64": coded | any_value,
        "key": texts | any_value,
        "key_b64": coded | any_value,
        "headers": headers | documents,
        "timestamp_ms": st.integers(-1, 2**63 - 1) | any_value,
        "more": scalars,
    },
)
almost_valid = st.fixed_dictionaries(
    {"records": st.lists(invalid, max_size=3) | documents},
    optional={
        "acks": st.sampled_from(["all", -1, 0, 1, 2]) | any_value,
        "timeout_ms": st.integers(0, 10) | any_value,
    },
)


def one_of_text(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a value under ``name``: text, null, or base64 of bytes that are not UTF-8."""
    no_text = st.binary(max_size=30).map(lambda content: content + b"\xff")
    return (texts | st.none()).map(lambda text: {name: text}) | no_text.map(
        lambda content: {f"{name}_b64": base64.b64encode(content).decode()}
    )


@st.composite
def valid_record(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a record in the form in which it is read."""
    record = {**draw(one_of_text("key")), **draw(one_of_text("value"))}
    record["timestamp_ms"] = draw(st.integers(-1, 2**63 - 1))
    if draw(st.booleans()):
        names = draw(st.lists(texts, min_size=1, max_size=3))
        record["headers"] = [{"key": name, **draw(one_of_text("value"))} for name in names]
    return record


bodies = st.fixed_dictionaries(
    {"records": st.lists(valid_record(), min_size=1, max_size=3)},
    optional={
        "acks": st.sampled_from(["all", -1, 0, 1, 2]),
        "timeout_ms": st.integers(0, 600_001),
    },
)
"""Bodies, of which about half are valid."""


async def check_post(gateway: WorldGateway, client: Client, body: bytes) -> None:
    """Post a body: a success and the records in the log, or a problem and no record."""
    before = gateway.node.log.leo
    answer = await client.post("/v1/records", data=BytesIO(body), headers=JSON)
    if answer.status == 200:
        found = await answer.json()
        assert gateway.node.log.leo == before + found["count"]
        assert found["base_offset"] in (before, None)
        return
    name = (await answer.json(content_type=None))["error"]
    assert name in REFUSED[answer.status]
    found = await problem(answer, answer.status, name)
    assert found["outcome"] == "not_written"
    assert gateway.node.log.leo == before


@settings(max_examples=60)
@given(body=documents | almost_valid | bodies)
def test_any_json_is_written_or_refused(api: Api, body: object) -> None:
    """Post JSON documents of every shape: invalid, almost valid and valid ones."""
    runner, gateway, client = api
    runner.run(check_post(gateway, client, json.dumps(body).encode()))


@given(body=st.binary() | st.binary().map(lambda junk: b'{"records": [{"value": "' + junk))
def test_any_bytes_are_written_or_refused(api: Api, body: bytes) -> None:
    """Post bytes, some with the beginning of a body."""
    runner, gateway, client = api
    runner.run(check_post(gateway, client, body))


@given(
    cut=st.integers(0, 60),
    junk=st.sampled_from([b"", b"\x00", b"\xff", b'"', b"\\", b"{", b"]", b"1", b":", b","]),
    skip=st.integers(0, 3),
)
def test_a_damaged_body_is_written_or_refused(api: Api, cut: int, junk: bytes, skip: int) -> None:
    """Replace a few bytes of a good body."""
    body = b'{"records":[{"value":"a","key_b64":"YQ==","headers":[]}],"acks":1}'
    runner, gateway, client = api
    runner.run(check_post(gateway, client, body[:cut] + junk + body[cut + skip :]))


@given(records=st.lists(valid_record(), min_size=1, max_size=4))
def test_what_is_written_is_read_again(api: Api, records: list[dict[str, Any]]) -> None:
    """Post records and read them from their first offset: all members are equal."""
    runner, _, client = api

    async def test() -> None:
        answer = await client.post("/v1/records", json={"records": records})
        assert answer.status == 200, await answer.text()
        base = (await answer.json())["base_offset"]
        found = await (await client.get(f"/v1/records?offset={base}")).json()
        assert found["records"] == [
            {**record, "offset": base + index, "epoch": found["epoch"]}
            for index, record in enumerate(records)
        ]
        assert found["next_offset"] == base + len(records) == found["hw"]

    runner.run(test())


names = st.sampled_from(["offset", "max_bytes", "redirect"]) | texts
words = st.integers(-2, 2**65).map(str) | st.sampled_from(["earliest", "latest"]) | texts


@given(query=st.lists(st.tuples(names, words), max_size=3))
def test_any_query_is_answered(api: Api, query: list[tuple[str, str]]) -> None:
    """Fetch with parameters of every kind: records, or a problem with the parameter's name."""
    runner, _, client = api
    words = "&".join(f"{quote(name, safe='')}={quote(word, safe='')}" for name, word in query)

    async def test() -> None:
        answer = await client.get(f"/fetch?{words}")
        if answer.status == 200:
            found = await answer.json()
            assert found["next_offset"] <= found["hw"]
        else:
            name = {400: "INVALID_REQUEST", 416: "OFFSET_OUT_OF_RANGE"}[answer.status]
            await problem(answer, answer.status, name)

    runner.run(test())
