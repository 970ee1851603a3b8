"""``yak cluster recover``: an emptied store comes back, or the message names what is missing.

Method: data folders of three brokers after a clean stop, without their store.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.net.redis_server import redis_server
from tests.net.test_older_data import NODES, RECORD, STATE
from yak_core.broker.saved_state import Claim, SavedValues, read_saved
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.metadata.partition_state import (
    PartitionState,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.transitions import elect
from yak_net.cluster.cli import cluster
from yak_net.runtime.state_file import take_lock
from yak_net.storage import open_storage
from yak_net.storage.checkpoints import save_value
from yak_net.storage.folder import StoreName, open_folder
from yak_net.storage.survey import saved_values, survey_log
from yak_net.storage.system import System

BYTES = encode_partition_state(STATE)


def recover(data: Path, *words: str) -> Result:
    """Run the command on a data folder."""
    return CliRunner().invoke(cluster, ["recover", "--data-dir", str(data), *words])


def stored(data: Path) -> bytes:
    """Return the partition state in the file of the embedded store."""
    keys = json.loads((data / "metadata.json").read_text())["keys"]
    fields = {base64.b64decode(name): value for name, value in keys[RECORD]["value"]}
    return base64.b64decode(fields[b"value"])


def digest(folder: Path) -> dict[str, str]:
    """Return the content of all files but locks."""
    return {
        path.relative_to(folder).as_posix(): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def put_state(data: Path, node: str, state: PartitionState) -> None:
    """Replace the saved partition state of a broker."""
    save_value(System(), data / node / "saved", "record", encode_partition_state(state))


def shorten(data: Path, node: str) -> None:
    """Take records from the log of a broker, as if it had never received them."""
    storage = open_storage(data / node, node, "yak")
    storage.log.truncate(6)
    storage.close()


def test_record_comes_back_with_the_same_bytes(data: Path) -> None:
    """Goal: the newest saved state, in a file that the next start takes as complete."""
    put_state(data, "n3", replace(STATE, partition_epoch=8, attempt=STATE.ancestors[0][1],
                                  ancestors=STATE.ancestors[1:]))  # fmt: skip
    done = recover(data)
    assert done.exit_code == 0, done.output
    assert stored(data) == BYTES
    assert json.loads((data / "metadata.json").read_text())["final"]
    entry = json.loads((data / "recoveries.jsonl").read_text())
    assert (entry["exact"], entry["store_id"], entry["version"]) == (True, STATE.store_id, 9)
    for node in NODES:
        folder = open_folder(data / node, node)
        folder.close()
        assert folder.store == StoreName(STATE.store_id, "the embedded metadata store")
    again = recover(data)
    assert (again.exit_code, "nothing to do" in again.stdout) == (0, True)


def test_dry_run_changes_nothing(data: Path) -> None:
    """Goal: the decision of the command, without a change of a file."""
    before = digest(data)
    done = recover(data, "--dry-run")
    assert (done.exit_code, "version 9" in done.stdout) == (0, True)
    shutil.rmtree(data / "n2")
    del_before = digest(data)
    lossy = recover(data, "--dry-run", "--accept-loss")
    assert (lossy.exit_code, "kept" in lossy.stdout) == (0, True)
    assert digest(data) == del_before
    assert before.items() >= del_before.items()


def test_saved_embedded_store_counts(data: Path) -> None:
    """Goal: a newer state in the file is kept; an older one is replaced."""
    assert recover(data).exit_code == 0
    newer = elect(STATE, attempt="x", node="n1", broker_epoch=BrokerEpoch(8))
    assert isinstance(newer, PartitionState)
    for node in NODES:
        put_state(data, node, newer)
    assert recover(data).exit_code == 0
    assert stored(data) == encode_partition_state(newer)
    for node in NODES:
        put_state(data, node, STATE)
    assert recover(data).exit_code == 0
    assert stored(data) == encode_partition_state(newer)


def test_damaged_embedded_store_is_kept_aside(data: Path) -> None:
    """Goal: the file is not needed, and not thrown away."""
    (data / "metadata.json").write_text("{")
    assert recover(data).exit_code == 0
    assert stored(data) == BYTES
    assert (data / "metadata.json.damaged").read_text() == "{"


def lose_the_folder(data: Path) -> None:
    shutil.rmtree(data / "n2")


def lose_the_state(data: Path) -> None:
    (data / "n2" / "saved" / "record").unlink()


def damage_the_state(data: Path) -> None:
    path = data / "n2" / "saved" / "record"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def damage_the_identity(data: Path) -> None:
    (data / "n2" / "identity.json").write_text("{")


def make_another_store(data: Path) -> None:
    put_state(data, "n2", replace(STATE, store_id="other"))


def fork(data: Path) -> None:
    put_state(data, "n2", replace(STATE, attempt="other"))


def put_the_log_ahead(data: Path) -> None:
    older = replace(STATE, leader_epoch=Epoch(1), leader=None, leader_broker_epoch=BrokerEpoch(0))
    for node in NODES:
        put_state(data, node, older)


REFUSED = [
    lose_the_folder, lose_the_state, damage_the_state, damage_the_identity, make_another_store,
    fork, put_the_log_ahead,
]  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: fault.__name__)
def test_unsafe_recovery_is_refused(data: Path, fault: Callable[[Path], None]) -> None:
    """Goal: exit 1, the folder or the broker is named, and nothing changes."""
    fault(data)
    before = digest(data)
    done = recover(data)
    assert done.exit_code == 1, done.output
    assert "n2" in done.stderr
    assert digest(data) == before
    assert not (data / "metadata.json").exists()


def test_running_brokers_are_named(data: Path) -> None:
    """Goal: a locked data folder, of a broker or of a cluster, is not touched."""
    lock = take_lock(data / "n3" / "lock")
    done = recover(data)
    assert (done.exit_code, "n3" in done.stderr, str(os.getpid()) in done.stderr) == (1, True, True)
    os.close(lock)
    lock = take_lock(data / "lock")
    done = recover(data)
    assert (done.exit_code, str(os.getpid()) in done.stderr) == (1, True)
    os.close(lock)
    assert recover(data).exit_code == 0


def test_folders_of_other_machines(data: Path, tmp_path: Path) -> None:
    """Goal: an exported record stands for its folder; a damaged one is refused."""
    away = tmp_path / "away"
    (data / "n2").rename(away)
    words = ["export-record", str(away), str(tmp_path / "n2.record")]
    done = CliRunner().invoke(cluster, words)
    assert done.exit_code == 0, done.output
    before = digest(away)
    assert recover(data).exit_code == 1
    record = tmp_path / "n2.record"
    body = json.loads(record.read_text())
    for change in ({"leo": 11}, {"crc": "0"}, {"schema": 9}, {"kind": "x"}):
        record.write_text(json.dumps(body | change))
        done = recover(data, "--record", str(record))
        assert (done.exit_code, str(record) in done.stderr) == (1, True), change
    record.write_text(json.dumps(body))
    assert recover(data, "--record", str(record)).exit_code == 0
    assert stored(data) == BYTES
    assert digest(away) == before
    done = CliRunner().invoke(cluster, ["export-record", str(data), str(record)])
    assert (done.exit_code, "expected 1" in done.stderr) == (1, True)


def test_folders_of_single_brokers(data: Path) -> None:
    """Goal: brokers that were started by hand have no common folder."""
    words = ["recover"]
    for node in NODES:
        words += ["--data-dir", str(data / node)]
    done = CliRunner().invoke(cluster, words)
    assert (done.exit_code, "--redis" in done.stderr) == (2, True)
    with redis_server() as server:
        done = CliRunner().invoke(cluster, [*words, "--redis", server.url])
        assert done.exit_code == 0, done.output
        with server.client() as client:
            assert client.hget(RECORD, "value") == BYTES


def test_store_with_content_is_refused(data: Path) -> None:
    """Goal: Redis is written only if it is empty; the message has the command that empties it.

    A wiped broker may have created a partition state there. Method: a real server.
    """
    with redis_server() as server:
        redis = ("--redis", server.url)
        assert recover(data, *redis).exit_code == 0
        with server.client() as client:
            store: Any = client
            fields = store.hgetall(RECORD)
            assert fields[b"value"] == BYTES
            assert decode_partition_state(fields[b"value"]) == STATE
        done = recover(data, *redis)
        assert (done.exit_code, "start the brokers" in done.stderr) == (1, True)
        other = replace(STATE, store_id="other")
        with server.client() as client:
            store = client
            store.hset(RECORD, "value", encode_partition_state(other))
            for words in (redis, (*redis, "--accept-loss")):
                done = recover(data, *words)
                assert (done.exit_code, f"DEL '{RECORD}'" in done.stderr) == (1, True)
            store.hset(RECORD, "value", b"{")
            done = recover(data, *redis)
            assert (done.exit_code, f"DEL '{RECORD}'" in done.stderr) == (1, True)
            store.delete(RECORD)
        assert recover(data, *redis).exit_code == 0


def saved_of(data: Path, node: str) -> SavedValues:
    """Return the decoded saved values of a broker."""
    folder = open_folder(data / node, node)
    found = read_saved(saved_values(folder))
    folder.close()
    assert isinstance(found, SavedValues)
    return found


def test_loss_keeps_the_most_complete_log(data: Path) -> None:
    """Goal: a new store, one log that starts clean, the others moved away, a bill on record."""
    shutil.rmtree(data / "n2")
    shorten(data, "n1")
    before = digest(data / "n1")
    assert recover(data).exit_code == 1
    done = recover(data, "--accept-loss")
    assert done.exit_code == 0, done.output
    state = decode_partition_state(stored(data))
    assert state.store_id != STATE.store_id
    assert (state.isr, state.leader, state.leader_epoch) == (("n3",), None, 2)
    kept = saved_of(data, "n3")
    assert kept.state == state
    assert kept.claims == (Claim(state.stamp),)
    assert kept.clean_shutdown == (state.broker_epoch_of("n3"), 10)
    moved = data / "dropped" / state.store_id[:8] / "n1"
    assert digest(moved) == before
    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == ["dropped", "n3"]
    entry = json.loads((data / "recoveries.jsonl").read_text())
    assert (entry["exact"], entry["store_id"]) == (False, state.store_id)
    assert any("n2" in line for line in entry["bill"])
    assert any("n1" in line and "end 6" in line for line in entry["bill"])
    for line in entry["bill"]:
        assert line in done.stdout


def test_loss_is_not_used_without_need(data: Path) -> None:
    """Goal: --accept-loss changes nothing if no loss is necessary."""
    assert recover(data, "--accept-loss").exit_code == 0
    assert stored(data) == BYTES
    assert {path.name for path in data.iterdir() if path.is_dir()} == set(NODES)


def test_log_to_keep_on_another_machine(data: Path, tmp_path: Path) -> None:
    """Goal: the command is refused, and says where to run it."""
    record = tmp_path / "n3.record"
    assert CliRunner().invoke(
        cluster, ["export-record", str(data / "n3"), str(record)]
    ).exit_code == 0  # fmt: skip
    shutil.rmtree(data / "n3")
    shutil.rmtree(data / "n2")
    shorten(data, "n1")
    before = digest(data)
    done = recover(data, "--record", str(record), "--accept-loss")
    assert (done.exit_code, str(record) in done.stderr) == (1, True)
    assert digest(data) == before


def test_survey_reads_what_a_recovery_would_find(data: Path) -> None:
    """Goal: same end, same judgement of damage, no change. Method: torn, damaged, missing log."""
    path = data / "n1" / "00000000000000000000.log"
    whole = path.read_bytes()
    for content, damaged in (
        (whole, False),
        (whole + whole[:50], False),
        (whole[:-1], True),
        (whole[:100] + b"?" + whole[101:], True),
        (b"", True),
    ):
        path.write_bytes(content)
        before = digest(data / "n1")
        folder = open_folder(data / "n1", "n1")
        found = survey_log(folder)
        folder.close()
        assert digest(data / "n1") == before
        repaired = Path(shutil.copytree(data / "n1", data / "copy"))
        storage = open_storage(repaired, "n1", "yak")
        storage.close()
        assert (found.leo, found.damage == "") == (
            storage.recovered.leo,
            storage.recovered.intact,
        )
        assert (found.damage != "") == damaged
        shutil.rmtree(repaired)
    path.unlink()
    folder = open_folder(data / "n1", "n1")
    assert survey_log(folder).damage
    folder.close()
