"""Data directories and a partition state of an earlier version are read and written unchanged.

The samples never change: an upgrade of the program must not need an upgrade of the data. A new
format gets a new folder of samples, with a README on how the files were made.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.net.brokers import get, post, until
from tests.net.cluster_tools import marked
from tests.net.redis_server import RedisServer, redis_server
from yak_core.batch import Batch, Builder, Record, placed, records, scan, seal, stamped
from yak_core.broker.saved_state import Claim, SavedValues, clean_shutdown_value, read_saved
from yak_core.contract.messages import ProduceRequest, ProduceResponse, Response
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import BrokerEpoch, Epoch, NodeId
from yak_core.log.producers import ProducerEntry
from yak_core.metadata.partition_state import (
    NodeEntry,
    PartitionState,
    Recovery,
    UncleanPolicy,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.redis_scripts import decode_reply, encode_request, keys_of
from yak_core.metadata.store_calls import Cas, MetaValue, Publish, Read, RenewLease, StoreOk
from yak_net.client.links import Links
from yak_net.storage import Storage, open_storage
from yak_net.storage.checkpoints import (
    Checkpoint,
    CheckpointFile,
    decode_epochs,
    decode_value,
    encode_epochs,
    encode_value,
    save_value,
)
from yak_net.storage.system import System

SAMPLES = Path(__file__).with_name("samples") / "before_rooms"
HASHES: dict[str, dict[str, str]] = json.loads((SAMPLES / "record.json").read_text())
NODES = ("n1", "n2", "n3")
NEW = {"storage-session", "written-end"}
"""Files of a data directory that older versions did not have."""
SEGMENT = f"{0:020d}.log"
RECORD, BEATS, VIEW = "yak:{yak}:record", "yak:{yak}:beats", "yak:{yak}:view"
KEYS = ("claims", "clean", "hw", "record")
TIMEOUT_US = 10_000_000
PATIENCE_S = 30.0

A_PRODUCER, B_PRODUCER = 4534824121793819870, 3763687448966449008
A_MS, B_MS = 1795738598833, 1795738600825
RECORDS = (
    Record(0, 1000, b"k0", b"v0", (("h", b"x"),)),
    Record(1, 1001, b"k1", None, ()),
    Record(2, 1002, None, b"\xff\x00", ()),
    Record(3, A_MS, None, b"a3", ()),
    Record(4, A_MS + 1, None, b"a4", ()),
    Record(5, A_MS + 1, None, b"a5", ()),
    Record(6, B_MS, None, b"b6", ()),
    Record(7, B_MS + 1, None, b"b7", ()),
    Record(8, B_MS + 1, None, b"b8", ()),
    Record(9, 1009, None, b"v9", ()),
)
EPOCHS = ((Epoch(1), 0), (Epoch(2), 6))
PRODUCERS = (
    (B_PRODUCER, ProducerEntry(0, ((0, 2, 6, 9),))),
    (A_PRODUCER, ProducerEntry(0, ((0, 2, 3, 6),))),
)
RUNS = {
    "n1": "n1-2de5c85df6e155cddb6d966b35320f9e",
    "n2": "n2-34c344d5dff60223d904074ae2e4d461",
    "n3": "n3-2331c6a4c8acfb13d8e8d303241bc77e",
}
"""Node and nonce of each node's last start; n1 was killed in its previous start."""
N1_BEFORE = "n1-eebc8f6393a82e00195aa5b6d9e19b2c"
REGISTERED = {"n1": 8, "n2": 4, "n3": 3}
"""Broker epochs."""
PORTS = {"n1": 60981, "n2": 58035, "n3": 43545}


def entry(node: str) -> tuple[NodeId, NodeEntry]:
    """Return the partition state's entry of a node."""
    url = f"http://127.0.0.1:{PORTS[node]}"
    return (node, NodeEntry(BrokerEpoch(REGISTERED[node]), True, False, url, Epoch(-1), -1))


STATE = PartitionState(
    store_id="eebc8f6393a82e00195aa5b6d9e19b2c",
    partition_epoch=9,
    attempt=f"{RUNS['n2']}-3",
    ancestors=(
        (8, f"{RUNS['n1']}-1"),
        (7, f"{RUNS['n2']}-2"),
        (6, f"{N1_BEFORE}-4"),
        (5, f"{N1_BEFORE}-3"),
        (4, f"{RUNS['n2']}-1"),
        (3, f"{RUNS['n3']}-1"),
        (2, f"{N1_BEFORE}-2"),
        (1, f"{N1_BEFORE}-1"),
    ),
    leader_epoch=Epoch(2),
    leader="n2",
    leader_broker_epoch=BrokerEpoch(4),
    isr=NODES,
    elr=(),
    last_known_eligible=(),
    last_leader="n1",
    replicas=NODES,
    min_isr=2,
    unclean_policy=UncleanPolicy.NEVER,
    recovery=Recovery.RECOVERED,
    unclean_generation=0,
    nodes=tuple(entry(node) for node in NODES),
)


def opened(path: Path, node: str) -> Storage:
    """Recover a data directory and close it."""
    storage = open_storage(path, node, "yak")
    storage.close()
    return storage


def sample_batches() -> list[Batch]:
    """Return the four batches of the sample log."""
    return list(scan((SAMPLES / "n1" / SEGMENT).read_bytes()))


def built(old: Batch) -> Batch:
    """Build a batch of the same records and producer with the present code."""
    builder = Builder()
    for record in records(old):
        index = builder.append(
            record.value,
            key=record.key,
            headers=record.headers,
            timestamp_ms=record.timestamp_ms,
        )
        assert index is not None
    return seal(
        builder.build(),
        producer_id=old.producer_id,
        producer_epoch=old.producer_epoch,
        base_sequence=old.base_sequence,
    )


@pytest.mark.parametrize("node", NODES)
def test_data_directory_is_recovered_intact(node: str, tmp_path: Path) -> None:
    """Goal: log, epochs, producers, flush checkpoint and saved values are recovered."""
    path = shutil.copytree(SAMPLES / node, tmp_path / node)
    storage = opened(path, node)
    found = storage.recovered
    assert storage.warnings == ()
    assert (found.log_start, found.leo, found.intact) == (0, 10, True)
    assert (found.epochs, found.producers, found.headers) == (EPOCHS, PRODUCERS, ())
    assert storage.checkpoints.newest == Checkpoint(segment=0, end=10, position=340, flags=0)
    assert tuple(key for key, _ in found.saved) == KEYS
    assert read_saved(found.saved) == SavedValues(
        state=STATE,
        hw=10,
        clean_shutdown=(BrokerEpoch(REGISTERED[node]), 10),
        flush="batch",
        claims=(Claim((REGISTERED[node], f"{RUNS[node]}-1")),),
    )
    read = [one for batch in scan((path / SEGMENT).read_bytes()) for one in records(batch)]
    assert tuple(read) == RECORDS
    for old in (SAMPLES / node).rglob("*"):
        if old.is_file():
            new = path / old.relative_to(SAMPLES / node)
            assert new.read_bytes() == old.read_bytes(), f"recovery has changed {old.name}"


@pytest.mark.parametrize("node", NODES)
def test_saved_values_are_written_as_before(node: str, tmp_path: Path) -> None:
    """Goal: equal values give equal files. Method: decode the sample and save it again.

    Only the claims have a newer version: see test_saved_claims.py.
    """
    texts = {}
    for key in KEYS:
        old = SAMPLES / node / "saved" / key
        texts[key] = decode_value(key, old.read_bytes(), old)
        assert encode_value(key, texts[key]) == old.read_bytes()
        save_value(System(), tmp_path, key, texts[key])
        assert (tmp_path / key).read_bytes() == old.read_bytes()
    saved = read_saved(tuple(texts.items()))
    assert isinstance(saved, SavedValues)
    assert saved.state is not None
    assert saved.clean_shutdown is not None
    assert encode_partition_state(saved.state) == texts["record"]
    assert clean_shutdown_value(*saved.clean_shutdown) == texts["clean"]


@pytest.mark.parametrize("node", NODES)
def test_files_beside_the_log_are_written_as_before(node: str, tmp_path: Path) -> None:
    """Goal: identity, epochs and flush checkpoint of a new directory have the same format."""
    opened(tmp_path / node, node)
    names = {path.name for path in (tmp_path / node).iterdir()} - {"lock"}
    old = SAMPLES / node
    assert names - NEW == {path.name for path in old.iterdir()} - {"leader-epoch-checkpoint"}
    assert (tmp_path / node / "identity.json").read_bytes() == (old / "identity.json").read_bytes()
    key = "leader-epoch-checkpoint"
    lines = decode_value(key, (old / key).read_bytes(), old / key)
    assert decode_epochs(lines) == EPOCHS
    assert encode_value(key, encode_epochs(EPOCHS)) == (old / key).read_bytes()

    slots = (old / "durable-end").read_bytes()
    checkpoints = CheckpointFile(System(), tmp_path / "durable-end")
    number, end, position = slot_of(slots)
    for _ in range(number):
        checkpoints.put(Checkpoint(0, end, position))
    checkpoints.close()
    new = (tmp_path / "durable-end").read_bytes()
    at = number % 2 * 512
    assert slot_of(new) == (number, end, position) == (number, 10, 340)
    assert new[at : at + 44] == slots[at : at + 44]


def slot_of(data: bytes) -> tuple[int, int, int]:
    """Return number, end and position of the newest slot."""
    slots = (struct.unpack_from(">4sHHqqqq", data, at) for at in (0, 512))
    _, _, _, number, _, end, position = max(slots, key=lambda slot: int(slot[3]))
    return (number, end, position)


def test_batches_are_built_as_before() -> None:
    """Goal: equal records of equal producers give equal bytes of the log."""
    old = sample_batches()
    assert [one.producer_id for one in old] == [-1, A_PRODUCER, B_PRODUCER, -1]
    new = [placed(built(one), one.base_offset, one.epoch) for one in old]
    log = b"".join(stamped(one) for one in new)
    assert log == (SAMPLES / "n1" / SEGMENT).read_bytes()


def test_hashes_of_the_store_are_read_and_written_as_before() -> None:
    """Goal: keys, fields and bytes in Redis are unchanged. Method: the scripts' arguments."""
    held = {name: text.encode() for name, text in HASHES[RECORD].items()}
    flat = [word.encode() for pair in HASHES[BEATS].items() for word in pair]
    reply = [b"done", held["version"], held["attempt"], held["value"], flat]
    renewals = tuple(
        (node, BrokerEpoch(int(beat.split(":")[0])), int(beat.split(":")[1]))
        for node, beat in HASHES[BEATS].items()
    )
    assert decode_reply(Read(), reply) == StoreOk(MetaValue(STATE, False, renewals))
    assert encode_partition_state(decode_partition_state(held["value"])) == held["value"]

    keys = keys_of("yak")
    cas = encode_request(keys, Cas((8, "before"), STATE, ("n1", 64)))
    assert cas.keys == (RECORD, BEATS)
    words = (held["version"], held["attempt"], held["value"])
    assert cas.args == (b"8", b"before", *words, b"n1", b"64")
    renewal = encode_request(keys, RenewLease("n1", BrokerEpoch(8), STATE.stamp))
    assert renewal.keys == (RECORD, BEATS)
    assert renewal.args == (b"n1", b"8", *words[:2])
    assert encode_request(keys, Publish(())).keys == (VIEW,)


def as_printed(record: Record, epoch: int) -> dict[str, Any]:
    """Return a record as ``yak consume --json`` prints it."""
    line: dict[str, Any] = {"offset": record.offset, "epoch": epoch}
    line |= {"timestamp_ms": record.timestamp_ms}
    line |= {"key": None if record.key is None else record.key.decode()}
    if record.value == b"\xff\x00":
        line |= {"value_b64": "/wA="}
    else:
        line |= {"value": None if record.value is None else record.value.decode()}
    if record.headers:
        line |= {"headers": [{"key": "h", "value": "x"}]}
    return line


async def resend(url: str, batch: Batch) -> ProduceResponse:
    """Send a batch again to the leader at ``url``; return its answer."""
    answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    lost = ConnectionError("connection to the leader lost")
    links = Links(
        lambda _, response: answer.set_result(response),
        lambda _: answer.set_exception(lost),
        lambda _: answer.set_exception(lost),
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = await links.discover((url,))
            assert found is not None
            assert found.leader is not None
            links.send(found.leader, ProduceRequest(1, found.leader_epoch, -1, TIMEOUT_US, batch))
            response = await answer
    finally:
        await links.close()
    assert isinstance(response, ProduceResponse)
    return response


def fill(server: RedisServer) -> None:
    """Write the hashes of the sample to an empty server."""
    with server.client() as client:
        store: Any = client
        for key, fields in HASHES.items():
            store.hset(key, mapping=fields)


def check_hashes(server: RedisServer) -> None:
    """Check that the names of keys and fields and the format of the state are unchanged."""
    with server.client() as client:
        store: Any = client
        assert {key.decode() for key in store.scan_iter()} == set(HASHES)
        for key, fields in HASHES.items():
            assert {name.decode() for name in store.hkeys(key)} == set(fields), key
        written = store.hget(RECORD, "value")
    new, old = json.loads(written), json.loads(HASHES[RECORD]["value"])
    assert decode_partition_state(written).partition_epoch > STATE.partition_epoch
    assert new.keys() == old.keys()
    for node in NODES:
        assert new["nodes"][node].keys() == old["nodes"][node].keys()
    assert (new["schema"], new["store_id"]) == (old["schema"], old["store_id"])


def check_directory(path: Path, node: str) -> None:
    """Check that one record was appended and all else is unchanged."""
    old = SAMPLES / node
    names = {one.relative_to(path).as_posix() for one in path.rglob("*")} - {"lock"}
    assert names - NEW == {one.relative_to(old).as_posix() for one in old.rglob("*")}
    assert (path / SEGMENT).read_bytes().startswith((old / SEGMENT).read_bytes())
    found = opened(path, node).recovered
    assert (found.leo, found.intact, found.epochs[:2]) == (11, True, EPOCHS)
    assert dict(found.producers).items() >= dict(PRODUCERS).items()
    saved = read_saved(found.saved)
    assert isinstance(saved, SavedValues)
    assert saved.clean_shutdown is not None
    assert saved.clean_shutdown[1] == 11
    assert saved.hw in (10, 11), "a lower bound: a stop does not wait for its checkpoint"


def leader_url(urls: dict[str, str], hw: int) -> str:
    """Return the URL of the leader when its ISR is whole and its HW is ``hw``, and else ""."""
    for node, url in urls.items():
        view = get(f"{url}/v1/cluster")[1]
        if view.get("leader") == node and (view["isr"], view["hw"]) == (list(NODES), hw):
            return url
    return ""


def check_service(urls: dict[str, str]) -> None:
    """Check that the brokers serve the older records, know their producers, and take a new one."""
    until(lambda: leader_url(urls, hw=10), "a full ISR")
    url = leader_url(urls, hw=10)
    old = [as_printed(one, 1 if one.offset < 6 else 2) for one in RECORDS]
    status, read = get(f"{url}/fetch?offset=0")
    assert (status, read["records"]) == (200, old)
    for batch in sample_batches()[1:3]:
        retry = asyncio.run(resend(url, built(batch)))
        assert (retry.error, retry.outcome) == (ErrorCode.NONE, Outcome.WRITTEN)
        assert retry.base_offset == batch.base_offset
    new = {"key": None, "value": "c10", "timestamp_ms": 1010}
    status, sent = post(f"{url}/produce", {"records": [new]})
    assert (status, sent["base_offset"]) == (200, 10)
    assert sent["epoch"] > 2
    status, read = get(f"{url}/fetch?offset=0")
    assert (status, read["records"][:-1]) == (200, old)
    assert read["records"][-1] == {"offset": 10, "epoch": sent["epoch"], **new}


@pytest.mark.long
def test_cluster_continues_on_older_data(tmp_path: Path) -> None:
    """Goal: three brokers lead, serve every record, recognise retries and take a new record.

    Method: real processes on copies of the sample, and a real redis-server; what they leave behind
    has the form of the sample.
    """
    data = tmp_path / "data"
    for node in NODES:
        shutil.copytree(SAMPLES / node, data / node)
    with redis_server() as server, marked() as processes:
        fill(server)
        yak = partial(processes.yak, tmp_path)
        up = yak("cluster", "up", "--detach", "--redis", server.url, "--data-dir", str(data))
        try:
            assert up.returncode == 0, up.stderr
            rows = json.loads(yak("cluster", "status", "--json").stdout)["brokers"]
            check_service({row["id"]: row["url"] for row in rows})
        finally:
            down = yak("cluster", "down")
        assert down.returncode == 0, down.stderr
        check_hashes(server)
    for node in NODES:
        check_directory(data / node, node)
