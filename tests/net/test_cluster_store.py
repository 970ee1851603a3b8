"""The metadata store of a cluster that starts, compared with the data folders of its brokers."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.net.brokers import get, until
from tests.net.cluster_tools import Marked, marked
from tests.net.redis_server import RedisServer, redis_server
from tests.net.test_cluster_recover import digest, put_state, stored
from tests.net.test_older_data import NODES, RECORD, RECORDS, SAMPLES, STATE
from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import (
    PartitionState,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.transitions import create, elect, register
from yak_net.cluster.errors import CannotStart
from yak_net.cluster.metadata import SavedMetadata
from yak_net.cluster.store_check import reconcile
from yak_net.storage.folder import StoreName, open_folder

BYTES = encode_partition_state(STATE)
NEWER = elect(STATE, attempt="newer", node="n1", broker_epoch=BrokerEpoch(8))
EMBEDDED = "the embedded metadata store"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Yield a real, empty server."""
    with redis_server() as found:
        yield found


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """Return the server, emptied."""
    with server.client() as client:
        client.flushall()
    return server


def put_store(data: Path, store_id: str, address: str) -> None:
    """Note a store in the data folders."""
    for node in NODES:
        folder = open_folder(data / node, node)
        folder.set_store(StoreName(store_id, address))
        folder.close()


def put_embedded(data: Path, state: PartitionState, *, final: bool) -> None:
    """Write the file of the embedded store."""
    fields = {"version": str(state.partition_epoch), "attempt": state.attempt}
    fields["value"] = encode_partition_state(state).decode()
    pairs = [[_b64(name), _b64(value)] for name, value in sorted(fields.items())]
    body = {"schema": 1, "kind": "yak-embedded-metadata", "cluster": "yak", "final": final}
    body |= {"saved_ms": 0, "keys": {RECORD: {"kind": "hash", "value": pairs}}}
    (data / "metadata.json").write_text(json.dumps(body))


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def start_embedded(data: Path) -> str:
    """Start and stop the embedded store as the supervisor does; return what was done."""
    metadata = SavedMetadata(data, "yak")
    try:
        url = await metadata.start()
        done = await reconcile(data, "yak", url, final=metadata.final)
        await metadata.keep_saved()
        return done
    finally:
        await metadata.close()


async def check_redis(data: Path, server: RedisServer) -> str:
    """Compare the folders with a Redis server."""
    return await reconcile(data, "yak", server.url, final=True)


def redis_name(server: RedisServer) -> str:
    """Return the name of the server in messages."""
    return f"Redis at {server.url.removeprefix('unix://').partition('?')[0]}"


def newer() -> PartitionState:
    assert isinstance(NEWER, PartitionState)
    return NEWER


@pytest.mark.parametrize("final", [True, False])
async def test_file_that_is_behind_is_replaced(data: Path, final: bool) -> None:
    """Goal: a change just before the end of the supervisor is not lost: one broker has it."""
    put_embedded(data, STATE, final=final)
    put_state(data, "n1", newer())
    assert "version 10" in await start_embedded(data)
    assert stored(data) == encode_partition_state(newer())
    assert await start_embedded(data) == ""


@pytest.mark.parametrize("final", [True, False])
async def test_file_that_is_complete_is_kept(data: Path, final: bool) -> None:
    """Goal: the file may be newer than all that the brokers have saved."""
    put_embedded(data, newer(), final=final)
    assert await start_embedded(data) == ""
    assert stored(data) == encode_partition_state(newer())


@pytest.mark.parametrize("text", [None, "{"])
async def test_missing_file_is_rebuilt(data: Path, text: str | None) -> None:
    """Goal: neither a missing nor a damaged file ends the cluster."""
    if text is not None:
        (data / "metadata.json").write_text(text)
    assert "version 9" in await start_embedded(data)
    assert stored(data) == BYTES


async def test_missing_folder_blocks_only_where_it_matters(data: Path) -> None:
    """Goal: a complete file needs no folder; an incomplete one needs all, and names the missing."""
    shutil.rmtree(data / "n2")
    put_embedded(data, STATE, final=True)
    assert await start_embedded(data) == ""
    put_embedded(data, STATE, final=False)
    before = digest(data)
    with pytest.raises(CannotStart, match=r"n2.*yak cluster recover"):
        await start_embedded(data)
    assert digest(data) == before
    (data / "metadata.json").unlink()
    with pytest.raises(CannotStart, match=r"n2.*yak cluster recover"):
        await start_embedded(data)


async def test_start_that_was_killed_early_can_be_repeated(data: Path) -> None:
    """Goal: brokers that have not registered need no folder; without any state nothing is done."""
    for node in NODES:
        shutil.rmtree(data / node)
        open_folder(data / node, node, "yak").close()
    (data / "metadata.json").write_text("{")
    assert await start_embedded(data) == ""
    one = create(store_id="s", attempt="1", node="n1", url="u", replicas=NODES, min_isr=2)
    two = register(one, attempt="2", node="n2", clean=True, url="u")
    assert isinstance(two, PartitionState)
    put_state(data, "n1", two)
    put_state(data, "n2", one)
    put_embedded(data, one, final=False)
    assert "version 2" in await start_embedded(data)


async def test_emptied_redis_is_rebuilt(data: Path, redis: RedisServer) -> None:
    """Goal: the same bytes; a store with content is left alone, whatever it is."""
    put_store(data, STATE.store_id, redis_name(redis))
    assert "version 9" in await check_redis(data, redis)
    with redis.client() as client:
        assert client.hget(RECORD, "value") == BYTES
    put_state(data, "n1", newer())
    assert await check_redis(data, redis) == ""


async def test_data_of_the_embedded_store_needs_that_store(data: Path, redis: RedisServer) -> None:
    """Goal: nothing was emptied: the message names both stores, and what can be done."""
    put_store(data, STATE.store_id, EMBEDDED)
    for remembered in (True, False):
        if not remembered:  # folders of an earlier version, beside the file of the store
            for node in NODES:
                shutil.copy(SAMPLES / node / "identity.json", data / node / "identity.json")
            put_embedded(data, STATE, final=True)
        with pytest.raises(CannotStart) as refused:
            await check_redis(data, redis)
        for noun in (EMBEDDED, redis_name(redis), "down --wipe", "omit --redis"):
            assert noun in str(refused.value)
    with redis.client() as client:
        assert client.keys() == []


async def test_data_of_redis_needs_redis(data: Path) -> None:
    """Goal: a cluster does not silently get a second store beside its own."""
    put_store(data, STATE.store_id, "Redis at 10.0.0.5:6379")
    with pytest.raises(CannotStart, match=r"10\.0\.0\.5:6379.*--redis"):
        await start_embedded(data)
    put_embedded(data, STATE, final=True)
    put_state(data, "n1", newer())
    with pytest.raises(CannotStart, match=r"10\.0\.0\.5:6379.*--redis"):
        await start_embedded(data)


async def test_store_that_has_moved_keeps_its_id(data: Path, redis: RedisServer) -> None:
    """Goal: another address is no reason to refuse, if the store has all that was seen."""
    put_store(data, STATE.store_id, redis_name(redis))
    assert await check_redis(data, redis) != ""
    put_store(data, STATE.store_id, "Redis at 10.0.0.5:6379")
    assert await check_redis(data, redis) == ""


async def test_other_store_is_named(data: Path, redis: RedisServer) -> None:
    """Goal: both ids are in the message. Method: a store of another cluster of this name."""
    other = replace(STATE, store_id="another")
    with redis.client() as client:
        store: Any = client
        fields = {"version": "9", "attempt": other.attempt, "value": encode_partition_state(other)}
        store.hset(RECORD, mapping=fields)
    with pytest.raises(CannotStart) as refused:
        await check_redis(data, redis)
    assert STATE.store_id in str(refused.value)
    assert "another" in str(refused.value)


@pytest.fixture
def processes() -> Iterator[Marked]:
    """Yield marked processes; none have ended after the test."""
    with marked() as found:
        yield found


def statuses(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the health of each broker that answers."""
    rows = json.loads((folder / ".yak" / "cluster.json").read_text())["brokers"]
    found = {row["id"]: get(f"{row['url']}/health")[1] for row in rows}
    return {node: health for node, health in found.items() if health}


@pytest.mark.long
def test_supervisor_killed_at_an_election(tmp_path: Path, processes: Marked) -> None:
    """Goal: `up` starts again, with all records, although the file misses the election.

    Method: kill the leader, then the supervisor as soon as another broker leads; to make the race
    certain, put back the file of before.
    """
    yak = partial(processes.yak, tmp_path)
    data = tmp_path / ".yak" / "data"
    assert yak("cluster", "up", "-d").returncode == 0
    assert yak("produce", "-m", "before").returncode == 0
    file = data / "metadata.json"
    until(lambda: "record" in file.read_text() and _isr(file) == list(NODES), "a full ISR is saved")
    old_file = file.read_bytes()
    state = json.loads((tmp_path / ".yak" / "cluster.json").read_text())
    old = next(iter(statuses(tmp_path).values()))["leader"]
    os.kill(int((data / old / "lock").read_text()), signal.SIGKILL)

    def elected() -> bool:
        return any(each.get("leader") not in (None, old) for each in statuses(tmp_path).values())

    until(elected, "another leader")
    os.kill(state["supervisor"], signal.SIGKILL)
    processes.all_gone()
    file.write_bytes(old_file)
    again = yak("cluster", "up", "-d")
    assert again.returncode == 0, again.stderr
    assert "rebuilt" in again.stderr
    assert yak("produce", "-m", "after").returncode == 0
    assert yak("consume", "--from-beginning", "-e").stdout == "before\nafter\n"
    assert yak("cluster", "down").returncode == 0


def _isr(file: Path) -> list[str]:
    return list(decode_partition_state(stored(file.parent)).isr)


@pytest.mark.long
def test_cluster_continues_after_a_loss(tmp_path: Path, processes: Marked, data: Path) -> None:
    """Goal: the kept records are served, and the other brokers get them; then all is wiped.

    Method: real processes on the folders of an earlier version; n2 is lost.
    """
    yak = partial(processes.yak, tmp_path)
    shutil.rmtree(data / "n2")
    words = ("--data-dir", str(data))
    refused = yak("cluster", "up", "-d", *words)
    assert (refused.returncode, "n2" in refused.stderr) == (2, True)
    assert yak("cluster", "recover", *words, "--accept-loss").returncode == 0
    up = yak("cluster", "up", "-d", *words)
    assert up.returncode == 0, up.stderr
    until(lambda: all(each["hw"] == 10 for each in statuses(tmp_path).values()), "HW 10 everywhere")
    assert yak("produce", "-m", "after").returncode == 0
    lines = yak("consume", "--from-beginning", "-e", "--json").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in lines] == list(range(len(RECORDS) + 1))
    assert json.loads(lines[-1])["epoch"] > STATE.leader_epoch
    done = yak("cluster", "down", "--wipe")
    assert done.returncode == 0, done.stderr
    assert not data.exists()


def test_wipe_deletes_the_metadata_in_redis(tmp_path: Path, data: Path, redis: RedisServer) -> None:
    """Goal: records and metadata go together, and nothing but the cluster's files is deleted."""
    put_store(data, STATE.store_id, redis_name(redis))
    (data / "mine.txt").write_text("keep")
    with marked() as processes:
        yak = partial(processes.yak, tmp_path)
        wipe = ("cluster", "down", "--wipe", "--data-dir", str(data))
        with redis.client() as client:
            store: Any = client
            fields = {"version": "9", "attempt": STATE.attempt, "value": BYTES}
            store.hset(RECORD, mapping=fields)
            store.set("other", "keep")
        before = digest(data)
        assert yak(*wipe).returncode == 2
        assert digest(data) == before
        done = yak(*wipe, "--redis", redis.url)
        assert done.returncode == 0, done.stderr
    with redis.client() as client:
        assert client.keys() == [b"other"]
    assert [path.name for path in data.iterdir()] == ["mine.txt"]
