"""Directories beside those of the brokers in the data folder of a cluster: copies, other names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.net.test_cluster_recover import BYTES, digest, put_state, recover, shorten, stored
from tests.net.test_cluster_store import newer, put_embedded, start_embedded
from tests.net.test_older_data import NODES, STATE
from yak_core.metadata.partition_state import PartitionState, encode_partition_state


def older() -> PartitionState:
    return replace(
        STATE, partition_epoch=8, attempt=STATE.ancestors[0][1], ancestors=STATE.ancestors[1:]
    )


@pytest.mark.parametrize("newest", ["n3", "n3.copy"])
def test_copy_of_a_directory_is_one_more_saved_state(data: Path, newest: str) -> None:
    """Goal: a copy beside the directory of its broker is no obstacle, and is not forgotten."""
    shutil.copytree(data / "n3", data / "n3.copy")
    for node in NODES:
        put_state(data, node, older())
    put_state(data, "n3.copy", older())
    put_state(data, newest, STATE)
    before = digest(data / "n3.copy")
    done = recover(data)
    assert done.exit_code == 0, done.output
    assert "n3.copy, not used" in done.stdout
    assert stored(data) == BYTES
    assert digest(data / "n3.copy") == before


def test_copy_of_another_store_is_ignored(data: Path) -> None:
    """Goal: what an operator kept of a former cluster does not keep this one from starting."""
    shutil.copytree(data / "n3", data / "n3.before")
    put_state(data, "n3.before", replace(STATE, store_id="f" * 32))
    done = recover(data)
    assert done.exit_code == 0, done.output
    assert stored(data) == BYTES


def test_renamed_directory_is_that_of_its_broker(data: Path) -> None:
    """Goal: its state is not missing while there is no other directory of the broker."""
    (data / "n3").rename(data / "n3.moved")
    assert recover(data).exit_code == 0
    assert stored(data) == BYTES


def test_log_in_a_renamed_directory_is_not_kept(data: Path) -> None:
    """Goal: no broker would use it. The message names both paths; after a rename it is kept."""
    shutil.rmtree(data / "n2")
    shorten(data, "n3")
    (data / "n1").rename(data / "n1.moved")
    before = digest(data)
    done = recover(data, "--accept-loss")
    assert (done.exit_code, digest(data)) == (1, before)
    assert str(data / "n1.moved") in done.stderr
    assert f"{data / 'n1'};" in done.stderr
    (data / "n1.moved").rename(data / "n1")
    done = recover(data, "--accept-loss")
    assert done.exit_code == 0, done.output
    assert f"kept: {data / 'n1'}" in done.stdout


async def test_copy_of_a_directory_does_not_keep_a_cluster_from_starting(data: Path) -> None:
    """Goal: a file that is behind is rebuilt, though an operator kept copies of a directory."""
    shutil.copytree(data / "n2", data / "n2.copy")
    shutil.copytree(data / "n2", data / "n2.before")
    put_state(data, "n2.before", replace(STATE, store_id="f" * 32))
    put_embedded(data, STATE, final=False)
    put_state(data, "n1", newer())
    assert "version 10" in await start_embedded(data)
    assert stored(data) == encode_partition_state(newer())
