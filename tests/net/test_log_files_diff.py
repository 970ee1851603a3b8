"""``yak log dump`` and ``yak log diff``: what is in a log, and where two logs differ.

Method: folders that the storage has written.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.net.log_folders import LOG, NAME, flip, folder_of, run
from tests.net.storage_tools import batch, content
from yak_core.batch import Batch
from yak_net.log_files.cli import log
from yak_net.log_files.reading import folders_in
from yak_net.storage import StorageError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder."""
    return folder_of(tmp_path / "n1", *LOG, hw=6)


def test_dump_prints_batches_and_records(data: Path) -> None:
    """Goal: the fields of kafka-dump-log; method: compare with the batches that were written."""
    code, lines = run("dump", data / NAME, "--records", "--offset", "4")
    assert code == 0
    batches = [line for line in lines if line["kind"] == "batch"]
    assert [
        (line["base_offset"], line["last_offset"], line["epoch"], line["position"], line["crc"])
        for line in batches
    ] == [
        (part.base_offset, part.end - 1, part.epoch, len(content(LOG[:at])), part.crc)
        for at, part in enumerate(LOG)
        if part.end > 4
    ]
    assert (batches[1]["producer_id"], batches[1]["base_sequence"]) == (7, 3)
    found = [line for line in lines if line["kind"] == "record"]
    assert [line["offset"] for line in found] == [4, 5, 6]
    assert found[0]["value"] == "4@3.4@3.4@"
    assert found[0]["timestamp_ms"] == 1004
    end = lines[-1]
    assert (end["batches"], end["records"], end["end_offset"]) == (4, 7, 7)
    assert len(run("dump", data / NAME, "-n", "1")[1]) == 3
    text = CliRunner().invoke(log, ["dump", "--print-data-log", str(data / NAME)]).stdout
    assert "baseOffset: 3 lastOffset: 5 count: 3 baseSequence: 0 lastSequence: 2" in text
    assert "isvalid: true" in text
    assert "payload: 4@3.4@3.4@" in text


def test_dump_names_invalid_bytes(data: Path) -> None:
    """Goal: exit code 1, and the batches around the damage; method: a flip in the second one."""
    flip(LOG[0].size + 70)(data)
    code, lines = run("dump", data / NAME)
    assert code == 1
    kinds = [line["kind"] for line in lines]
    assert kinds == ["log", "batch", "invalid", "batch", "batch", "end"]
    assert (lines[2]["position"], lines[2]["bytes"]) == (LOG[0].size, LOG[1].size)
    assert not lines[2]["torn"]


def test_dump_prints_the_files_beside_the_log(data: Path) -> None:
    """Goal: checkpoints, epochs and saved values; method: a whole folder, then single files."""
    _, lines = run("dump", data)
    by_kind = {line["kind"]: line for line in lines}
    assert (by_kind["folder"]["node"], by_kind["folder"]["in_use_by"]) == ("n1", None)
    assert [(line["epoch"], line["start"]) for line in lines if line["kind"] == "epoch"] == [
        (1, 0),
        (3, 3),
        (5, 6),
    ]
    assert run("dump", data / "durable-end")[1][0]["end"] == 7
    assert run("dump", data / "saved" / "hw")[1] == [{"kind": "value", "key": "hw", "value": "6"}]
    assert run("dump", data / "identity.json")[1][0]["node"] == "n1"


def test_a_path_that_is_no_log_is_refused(tmp_path: Path) -> None:
    """Goal: exit code 2; method: missing, empty and foreign paths for each command."""
    (tmp_path / "notes.txt").write_text("x")
    for words in (("dump", tmp_path), ("dump", tmp_path / "notes.txt"), ("verify", tmp_path)):
        assert run(*words) == (2, [])
    assert run("verify", tmp_path / "missing")[0] == 2
    assert run("diff", tmp_path, tmp_path)[0] == 2
    with pytest.raises(StorageError, match=r"identity\.json"):
        folders_in(tmp_path)
    done = CliRunner().invoke(log, ["dump", "--files", "x"])
    assert done.exit_code == 2
    assert "argument" in done.stderr


# -- diff ------------------------------------------------------------------------------------------

SHORT = LOG[:3]
OTHER_EPOCH = (*LOG[:2], batch(3, 4, 3, 10))
OTHER_VALUE = (*LOG[:2], batch(3, 3, 3, 11, producer=7))
ONE_BY_ONE = (batch(0, 1), batch(1, 1), *LOG[1:])


@pytest.mark.parametrize(
    ("one", "other", "hws", "expected"),
    [
        (LOG, LOG, (7, 6), (0, "equal", None)),
        (LOG, SHORT, (6, 5), (0, "equal", None)),
        (LOG, ONE_BY_ONE, (6, 6), (0, "equal", None)),
        (LOG, OTHER_EPOCH, (7, 3), (0, "uncommitted", 3)),
        (LOG, OTHER_EPOCH, (7, 4), (1, "committed", 3)),
        (LOG, OTHER_VALUE, (6, 6), (1, "committed", 3)),
        (LOG, SHORT, (7, 7), (1, "committed", 6)),
        (ONE_BY_ONE, OTHER_VALUE, (6, 3), (0, "uncommitted", 3)),
    ],
)  # fmt: skip
def test_the_first_difference_is_found(
    one: tuple[Batch, ...], other: tuple[Batch, ...], hws: tuple[int, int],
    expected: tuple[int, str, int | None], tmp_path: Path,
) -> None:  # fmt: skip
    """Goal: offset, kind and exit code; method: pairs of logs, in both orders."""
    a = folder_of(tmp_path / "a", *one, hw=hws[0])
    b = folder_of(tmp_path / "b", *other, hw=hws[1])
    for first, second in ((a, b), (b, a)):
        code, (found,) = run("diff", first, second)
        assert (code, found["difference"], found["offset"]) == expected
        assert found["hw"] == min(hws)
        assert {side["leo"] for side in found["sides"]} == {one[-1].end, other[-1].end}


def test_log_files_without_a_folder_have_no_verdict(data: Path, tmp_path: Path) -> None:
    """Goal: exit code 3 if they differ, 0 if they do not; method: two copied segments."""
    for name, parts in (("a", LOG), ("b", OTHER_VALUE), ("c", SHORT)):
        (tmp_path / name).mkdir()
        (tmp_path / name / NAME).write_bytes(content(parts))
    code, (found,) = run("diff", tmp_path / "a" / NAME, tmp_path / "b" / NAME)
    assert (code, found["difference"], found["offset"], found["hw"]) == (3, "unknown", 3, None)
    assert run("diff", tmp_path / "a" / NAME, tmp_path / "c" / NAME)[0] == 0
    # A segment in its folder has the checkpoint of the folder.
    assert run("diff", data / NAME, tmp_path / "b" / NAME)[0] == 1


def test_damage_ends_the_comparison(data: Path, tmp_path: Path) -> None:
    """Goal: what cannot be read below the HW is a difference; method: a flip at offset 2."""
    other = folder_of(tmp_path / "other", *LOG, hw=7)
    flip(LOG[0].size + 70)(data)
    code, (found,) = run("diff", data, other)
    assert (code, found["difference"], found["offset"]) == (1, "committed", 2)
    assert [bool(side["damage"]) for side in found["sides"]] == [True, False]
