"""Embedded metadata that survives a stop, and the file that says whether it is complete."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.net.cluster_tools import wait_for
from tests.net.redis_server import redis_server
from yak_net.cluster.errors import CannotStart, ClusterError
from yak_net.cluster.metadata import POLL_S, SavedMetadata, members

RECORD = "yak:{yak}:record"
BEATS = "yak:{yak}:beats"
CONTENT: dict[Any, Any] = {b"version": b"1", b"value": bytes(range(256))}


def with_logs(folder: Path) -> None:
    """Make a data directory with the data of brokers."""
    (folder / "n1").mkdir()
    (folder / "n1" / "identity.json").write_text("{}")


def saved(folder: Path) -> Any:
    """Return the content of the file."""
    return json.loads((folder / "metadata.json").read_text())


@asynccontextmanager
async def served(
    folder: Path, *, on_problem: Callable[[str], None] = print
) -> AsyncIterator[tuple[SavedMetadata, redis.Redis]]:
    """Serve the metadata, with a client of it."""
    metadata = SavedMetadata(folder, "yak", on_problem)
    try:
        with redis.Redis.from_url(await metadata.start(), protocol=2) as client:
            await metadata.keep_saved()
            yield metadata, client
    finally:
        await metadata.close()


async def store(folder: Path) -> None:
    """Write a partition state, and stop."""
    async with served(folder) as (_, client):
        client.hset(RECORD, mapping=CONTENT)
        client.hset(BEATS, "n1", "1:2")
        client.set("yak:{yak}:word", b"\x00\xff")
        client.set("other", "not ours")


async def test_content_is_restored(tmp_path: Path) -> None:
    """Goal: every byte of the cluster's keys survives a stop; other keys do not."""
    await store(tmp_path)
    with_logs(tmp_path)
    async with served(tmp_path) as (metadata, client):
        assert (metadata.final, metadata.damage) == (True, "")
        assert client.hgetall(RECORD) == CONTENT
        assert client.hgetall(BEATS) == {b"n1": b"1:2"}
        assert client.get("yak:{yak}:word") == b"\x00\xff"
        assert client.get("other") is None


async def test_content_without_broker_data_is_ignored(tmp_path: Path) -> None:
    """Goal: without the brokers' data a new cluster starts."""
    await store(tmp_path)
    async with served(tmp_path) as (_, client):
        assert client.keys() == []


async def test_changes_are_saved_soon(tmp_path: Path) -> None:
    """Goal: a killed supervisor leaves the partition state; lease renewals cause no writes."""
    async with served(tmp_path) as (_, client):
        assert saved(tmp_path)["keys"] == {}
        client.hset(RECORD, mapping=CONTENT)
        await wait_for(lambda: RECORD in saved(tmp_path)["keys"], "the saved state")
        assert not saved(tmp_path)["final"]
        before = (tmp_path / "metadata.json").stat().st_ino
        for beats in range(20):
            client.hset(BEATS, "n1", f"1:{beats}")
            await asyncio.sleep(POLL_S / 5)
        assert (tmp_path / "metadata.json").stat().st_ino == before
    assert saved(tmp_path)["final"]
    assert BEATS in saved(tmp_path)["keys"]


async def test_content_after_an_unclean_end_is_not_final(tmp_path: Path) -> None:
    """Goal: the next start knows whether the file has all changes."""
    await store(tmp_path)
    body = saved(tmp_path) | {"final": False}
    (tmp_path / "metadata.json").write_text(json.dumps(body))
    with_logs(tmp_path)
    for final in (False, True):
        async with served(tmp_path) as (metadata, _):
            assert metadata.final == final


@pytest.mark.parametrize(
    "text", ["", "[]", '{"kind": "yak-embedded-metadata"}', {"keys": {RECORD: {"value": "AA=="}}}]
)
async def test_damaged_file_is_kept_under_another_name(
    tmp_path: Path, text: str | dict[str, object]
) -> None:
    """Goal: the content is empty, and the file changes only once the content is kept."""
    await store(tmp_path)
    path = tmp_path / "metadata.json"
    if isinstance(text, dict):
        text = json.dumps(saved(tmp_path) | text)
    path.write_text(text)
    with_logs(tmp_path)
    metadata = SavedMetadata(tmp_path, "yak")
    with redis.Redis.from_url(await metadata.start(), protocol=2) as client:
        assert client.keys() == []
    await metadata.close()
    assert path.read_text() == text
    async with served(tmp_path) as (metadata, _):
        assert str(path) in metadata.damage
    assert (tmp_path / "metadata.json.damaged").read_text() == text
    assert saved(tmp_path)["final"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"schema": 2}, "schema 2"), ({"cluster": "other"}, "--cluster other")],
)
async def test_unusable_content_is_refused(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    """Goal: an error with the next step; the file is unchanged."""
    await store(tmp_path)
    path = tmp_path / "metadata.json"
    text = json.dumps(saved(tmp_path) | change)
    path.write_text(text)
    with_logs(tmp_path)
    with pytest.raises(CannotStart, match=sentence):
        async with served(tmp_path):
            pass
    assert path.read_text() == text


async def test_problem_with_saving_is_reported_once(tmp_path: Path) -> None:
    """Method: a disk that cannot be written, then a server that is down; both end."""
    reported: list[str] = []
    async with served(tmp_path, on_problem=reported.append) as (metadata, client):
        (tmp_path / "metadata.json.tmp").mkdir()
        client.hset(RECORD, mapping=CONTENT)
        await wait_for(lambda: reported, "it is reported")
        (tmp_path / "metadata.json.tmp").rmdir()
        await wait_for(lambda: RECORD in saved(tmp_path)["keys"], "the saved state")
        assert len(reported) == 1
        assert metadata.server is not None
        metadata.server.down()
        await wait_for(lambda: metadata.problem, "a problem")
        metadata.server.up()
    assert saved(tmp_path)["final"]


async def test_members_of_a_cluster(tmp_path: Path) -> None:
    """Goal: none at first; an invalid address and a stopped server are errors."""
    async with served(tmp_path) as (metadata, _):
        assert metadata.server is not None
        url = metadata.server.url
        assert await members(url, "yak") == ()
    with pytest.raises(ClusterError, match="reached"):
        await members(url, "yak")
    with pytest.raises(CannotStart, match="Redis"):
        await members("http://secret@x", "yak")


async def test_empty_redis_has_no_cluster() -> None:
    """Method: a real, empty server."""
    with redis_server() as server:
        assert await members(server.url, "yak") == ()


async def test_too_many_connections_are_a_problem(tmp_path: Path) -> None:
    """Goal: the owner of the cluster is given the reason, on its own event loop."""
    problems: list[tuple[str, int]] = []

    def on_problem(text: str) -> None:
        problems.append((text, threading.get_ident()))

    async with served(tmp_path, on_problem=on_problem) as (metadata, client):
        assert metadata.server is not None
        metadata.server.connections_max = 4
        known = client.connection_pool.connection_kwargs
        with ExitStack() as opened:
            for _ in range(8):
                line = socket.create_connection((known["host"], known["port"]))
                opened.enter_context(line)
            await wait_for(lambda: problems, "a problem")
    ((text, thread),) = problems
    assert ("4 connections" in text, thread) == (True, threading.get_ident())
