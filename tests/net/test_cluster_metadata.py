"""Embedded metadata that is kept over a stop, and said to be old where it may be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.net.cluster_tools import run
from tests.net.redis_server import redis_server
from yak_net.cluster import CannotStart, ClusterError
from yak_net.cluster.metadata import LOOK_S, SavedMetadata, members

RECORD = "yak:{yak}:record"
BEATS = "yak:{yak}:beats"
FIELDS = {b"version": b"1", b"value": bytes(range(256))}


def with_logs(folder: Path) -> Path:
    """A data directory in which brokers have been."""
    (folder / "n1").mkdir(exist_ok=True)
    (folder / "n1" / "identity.json").write_text("{}")
    return folder


def saved(folder: Path) -> Any:
    """What is in the file."""
    return json.loads((folder / "metadata.json").read_text())


async def keep(folder: Path, cluster: str = "yak") -> tuple[SavedMetadata, redis.Redis]:
    """The metadata, served, and a client of it."""
    kept = SavedMetadata(folder, cluster)
    try:
        url = await kept.start()
    except BaseException:
        await kept.close(served=False)
        raise
    return kept, redis.Redis.from_url(url, protocol=2)


async def store(folder: Path, *, served: bool = True) -> None:
    """A life in which a record was written."""
    kept, client = await keep(folder)
    client.hset(RECORD, mapping=FIELDS)  # type: ignore[arg-type]
    client.hset(BEATS, "n1", "1:2")
    client.set("yak:{yak}:word", b"\x00\xff")
    client.set("other", "not ours")
    client.close()
    await kept.close(served=served)


def test_content_is_there_again(tmp_path: Path) -> None:
    """Goal: every byte of the cluster's keys outlives a stop; other keys are not ours."""

    async def story() -> None:
        with_logs(tmp_path)
        (tmp_path / "n1" / "identity.json").unlink()
        await store(tmp_path)
        with_logs(tmp_path)
        kept, client = await keep(tmp_path)
        assert kept.note == ""
        assert client.hgetall(RECORD) == FIELDS
        assert client.hgetall(BEATS) == {b"n1": b"1:2"}
        assert client.get("yak:{yak}:word") == b"\x00\xff"
        assert client.get("other") is None
        client.close()
        await kept.close(served=True)

    run(story())


def test_changes_are_saved_soon(tmp_path: Path) -> None:
    """Goal: a supervisor that is killed leaves the record; beats alone cause no writes."""

    async def story() -> None:
        kept, client = await keep(tmp_path)
        assert saved(tmp_path)["keys"] == {}
        client.hset(RECORD, mapping=FIELDS)  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            while RECORD not in saved(tmp_path)["keys"]:
                await asyncio.sleep(LOOK_S / 5)
        assert not saved(tmp_path)["final"]
        before = (tmp_path / "metadata.json").stat().st_ino
        looks = asyncio.get_running_loop().time() + 4 * LOOK_S
        beats = 0
        while asyncio.get_running_loop().time() < looks:
            beats += 1
            client.hset(BEATS, "n1", f"1:{beats}")
            await asyncio.sleep(LOOK_S / 5)
        assert (tmp_path / "metadata.json").stat().st_ino == before
        client.close()
        await kept.close(served=True)
        assert saved(tmp_path)["final"]
        assert BEATS in saved(tmp_path)["keys"]

    run(story())


def test_content_that_may_be_old_is_said_to_be(tmp_path: Path) -> None:
    """Goal: after an unclean end the next start says so, and so does the one after it."""

    async def story() -> None:
        await store(tmp_path)
        body = saved(tmp_path) | {"final": False}
        (tmp_path / "metadata.json").write_text(json.dumps(body))
        with_logs(tmp_path)
        for served in (False, True):  # a start that failed makes nothing better
            kept, client = await keep(tmp_path)
            assert "did not stop cleanly" in kept.note
            client.close()
            await kept.close(served=served)
        kept, client = await keep(tmp_path)
        assert kept.note == ""
        client.close()
        await kept.close(served=True)

    run(story())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "holds the data of brokers, but not the metadata .* --data-dir, or with --redis"),
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"kind": "yak-embedded-metadata", "schema": 1}', "damaged"),
        ("KEY", "damaged"),
        ("SCHEMA", "a newer version"),
        ("CLUSTER", "holds cluster other: give --cluster other"),
    ],
)
def test_content_that_cannot_be_used(tmp_path: Path, text: str | None, sentence: str) -> None:
    """Goal: a sentence with the ways out; the file stays as it is."""

    async def story() -> None:
        await store(tmp_path)
        path = tmp_path / "metadata.json"
        changed = {
            "KEY": {"keys": {RECORD: {"kind": "hash", "value": [["?", "?"]]}}},
            "SCHEMA": {"schema": 2},
            "CLUSTER": {"cluster": "other"},
        }
        path.unlink() if text is None else path.write_text(
            json.dumps(saved(tmp_path) | changed[text]) if text in changed else text
        )
        before = path.read_bytes() if path.exists() else None
        with_logs(tmp_path)
        with pytest.raises(CannotStart, match=sentence):
            await keep(tmp_path)
        assert (path.read_bytes() if path.exists() else None) == before

    run(story())


def test_content_without_any_data_is_nothing(tmp_path: Path) -> None:
    """Goal: who deletes the brokers' data starts over."""

    async def story() -> None:
        await store(tmp_path)
        kept, client = await keep(tmp_path)
        assert client.keys() == []
        client.close()
        await kept.close(served=True)

    run(story())


def test_trouble_with_saving_is_told_once(tmp_path: Path) -> None:
    """Goal: a disk that cannot be written, or a server that is down, is told of, and got over."""

    async def story() -> None:
        told: list[str] = []
        kept = SavedMetadata(tmp_path, "yak", told.append)
        client = redis.Redis.from_url(await kept.start(), protocol=2)
        (tmp_path / "metadata.json.tmp").mkdir()
        client.hset(RECORD, mapping=FIELDS)  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            while not told:
                await asyncio.sleep(LOOK_S / 5)
            (tmp_path / "metadata.json.tmp").rmdir()
            while RECORD not in saved(tmp_path)["keys"]:
                await asyncio.sleep(LOOK_S / 5)
        assert len(told) == 1
        assert "cannot save the metadata" in told[0]
        client.close()
        assert kept.server is not None
        kept.server.down()
        async with asyncio.timeout(30):
            while not kept.problem:
                await asyncio.sleep(LOOK_S / 5)
        kept.server.up()
        await kept.close(served=True)
        assert saved(tmp_path)["final"]

    run(story())


def test_members_of_a_cluster(tmp_path: Path) -> None:
    """Goal: none yet, or a sentence for an address of no use and a server that is not there."""

    async def story() -> None:
        kept, client = await keep(tmp_path)
        assert kept.server is not None
        url = kept.server.url
        assert await members(url, "yak") == ()
        client.close()
        await kept.close(served=False)
        with pytest.raises(ClusterError, match="cannot be reached"):
            await members(url, "yak")
        with pytest.raises(CannotStart, match="address of Redis"):
            await members("http://secret@x", "yak")

    run(story())


def test_real_redis_is_read_the_same_way() -> None:
    """Goal: a server that is there and empty has no cluster."""
    with redis_server() as server:
        assert run(members(server.url, "yak")) == ()
