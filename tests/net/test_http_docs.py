"""docs/http.md matches the code: endpoints, statuses, members and limits."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

from tests.net.http_tools import ScriptedGateway, WorldGateway, cluster, serving
from tests.require import executable
from tests.tidy.tree import ROOT
from yak_core.errors import RETRIABLE
from yak_net.compression import BROKER_SECTION_BYTES_MAX
from yak_net.http import cluster_stream, record_stream, shares
from yak_net.http import connections as limits
from yak_net.http import json_bodies as bodies
from yak_net.http import request_parsing as asking
from yak_net.http.endpoints import MAX_BYTES
from yak_net.http.gateway import BrokerStopped
from yak_net.http.problems import HTTP_FORMS, TYPE_PREFIX
from yak_net.http.routes import BATCH_BYTES_MAX, BODY_BYTES_MAX, INDEX, routes

PAGE = (ROOT / "docs" / "http.md").read_text("utf-8")


def rows(heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the table with this heading."""
    after = PAGE.split(heading + "\n", 1)[1].splitlines()[1:]
    for line in after:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_statuses_is_the_one_of_the_code() -> None:
    """Compare each row with the code's table, and the number of rows."""
    assert list(rows("| code | error | status | retriable | title |")) == [
        [
            str(int(code)),
            f"`{code.name}`",
            str(kind.status),
            "yes" if code in RETRIABLE else "no",
            kind.title,
        ]
        for code, kind in HTTP_FORMS.items()
    ]


def test_every_endpoint_is_documented() -> None:
    """Compare the endpoints of the page with the routes, both ways."""
    documented = {
        tuple(words.split())
        for cells in rows("| endpoint | what it does |")
        for words in re.findall(r"`([A-Z]+ /[^`]*)`", cells[0])
    }
    table = routes(ScriptedGateway(lambda _: BrokerStopped(sent=False)))
    assert documented == {(route.method, route.path) for route in table}


def test_members_and_defaults_are_those_of_the_code() -> None:
    """Compare the page's members of a body, and its defaults and limits, with the code's."""
    table = rows("| member | type | default | meaning |")
    members = {cells[0].strip("`"): cells for cells in table}
    assert tuple(members) == bodies.ProduceBody.__struct_fields__
    assert members["timeout_ms"][1:3] == [f"0 to {bodies.TIMEOUT_MS_MAX}", str(bodies.TIMEOUT_MS)]
    for acks in bodies.ACKS:
        assert (f'"{acks}"' if acks == "all" else str(acks)) in members["acks"][1]
    parameters = {cells[0]: cells[1] for cells in rows("| parameter | default | meaning |")}
    assert parameters["`max_bytes`"] == str(MAX_BYTES.default)
    for field in (*bodies.JsonRecord.__struct_fields__, *bodies.FetchedRecord.__struct_fields__):
        assert re.search(rf'[`"]{field}[`"]', PAGE), field


def test_limits_are_those_of_the_code() -> None:
    """Find each limit of the code in the page."""
    assert f"at most {BODY_BYTES_MAX >> 20} MiB" in PAGE
    assert f"at most {bodies.BATCH_RECORDS_MAX}, and {BATCH_BYTES_MAX >> 20} MiB" in PAGE
    assert f"at most {bodies.RECORDS_MAX} records" in PAGE
    assert f"`{TYPE_PREFIX}`" in PAGE
    rate = f"{limits.STALL_BYTES >> 10} KiB in each {limits.STALL_S:g} s"
    body = f"{asking.BODY_TIMEOUT_S:g} s, and {rate.replace(' in', ' (or the rest) in')}"
    assert [cells[1] for cells in rows("| what | limit | above it |")][:-1] == [
        f"the limit of open files minus {limits.RESERVED}, at most {limits.CONNECTIONS_MAX}",
        f"{limits.HEADROOM} fewer",
        f"{record_stream.STREAMS_MAX}; {cluster_stream.STREAMS_MAX}",
        f"{limits.IDLE_S:g} s",
        body,
        rate,
        f"{shares.HTTP_BYTES_MAX >> 20} MiB",
        f"{BROKER_SECTION_BYTES_MAX >> 20} MiB, two batches at a time",
        f"{shares.STREAM_BYTES_MAX >> 20} MiB",
        f"{shares.STREAM_BYTES_MAX >> 20} MiB, and {rate}",
    ]
    assert f"files below {limits.DESCRIPTORS_MIN};" in PAGE


def curl_options(text: str) -> set[str]:
    """Return the options of the curl commands in a text, without their values."""
    commands = re.findall(r"(?:^|`|\s)curl ((?:\\\n|[^\n`])*)", text)
    return {
        option for command in commands for option in re.findall(r"(?<!\S)(--?[\w-]+)", command)
    }


def test_curl_commands_work_with_every_curl() -> None:
    """Goal: only options that each curl knows; --json and --retry-all-errors are newer."""
    texts = [INDEX, *(path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md"))]
    used = set().union(*map(curl_options, [*texts, (ROOT / "README.md").read_text("utf-8")]))
    assert used == {"-H", "-d", "-L", "-s", "-f"}


@pytest.fixture
def curl() -> str:
    """Return the path of curl."""
    return executable("curl")


async def test_a_redirect_keeps_the_post(curl: str) -> None:
    """Goal: `curl -L` reaches the leader. Method: curl, with two brokers of one world."""
    world = cluster()
    async with serving(WorldGateway(world, "n1")) as leader:
        follower = WorldGateway(world, "n2")
        follower.urls["n1"] = str(leader.make_url("/")).rstrip("/")
        async with serving(follower) as other:
            process = await asyncio.create_subprocess_exec(
                curl, "-s", "-L", "-H", "Content-Type: application/json",
                "-d", '{"records": [{"value": "redirected"}]}',
                str(other.make_url("/v1/records?redirect=1")), stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            answer, _ = await process.communicate()
    assert json.loads(answer)["base_offset"] == 0
