"""``yak offsets`` and ``yak consume -o @TIME``: the ends of the log, and offsets by time.

Method: a broker with records whose timestamps are known, and not in order.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.net.brokers import post
from tests.net.client_commands import one_broker, yak
from yak_net.client import offset_lookup
from yak_net.client.offset_lookup import parse_time

TIMES = (1_000_000, 3_000_000, 2_000_000, 5_000_000)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker with a record of each time, in two batches."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        for times in (TIMES[:2], TIMES[2:]):
            records = [{"value": f"at {time}", "timestamp_ms": time} for time in times]
            assert post(f"{broker.url}/v1/records", {"records": records})[0] == 200
        yield broker.url


def offsets(at: str, *words: str) -> dict[str, Any]:
    """Return the object of ``yak offsets --json``."""
    done = yak("offsets", "--json", "-b", at, *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_ends_of_the_log(at: str) -> None:
    """Goal: earliest, HW and the leader's log end, and one of them as a number."""
    expected = {"earliest": 0, "latest": 4, "hw": 4, "leo": 4, "leader": "n1"}
    assert offsets(at) == expected
    for word, offset in (("earliest", 0), ("-2", 0), ("latest", 4), ("-1", 4)):
        assert yak("offsets", "-b", at, "--time", word).stdout == b"%d\n" % offset
    assert yak("offsets", "-b", at).stdout.split()[1] == b"0"


@pytest.mark.parametrize(
    ("time", "offset"),
    [(0, 0), (1_000_000, 0), (1_000_001, 1), (2_500_000, 1), (3_000_001, 3), (5_000_001, -1)],
)
def test_the_first_record_that_is_not_earlier(at: str, time: int, offset: int) -> None:
    """Goal: Kafka's lookup, also if timestamps do not increase; method: times around them."""
    found = offsets(at, "--time", str(time))
    assert found["offset"] == offset
    assert found["timestamp_ms"] == (None if offset < 0 else TIMES[offset])
    done = yak("consume", "-b", at, "-o", f"@{time}", "-e", "-f", "%o ")
    rest = range(offset if offset >= 0 else 4, 4)
    assert done.stdout.split() == [b"%d" % each for each in rest]
    assert done.returncode == 0


def test_the_leader_and_a_read_of_the_log_agree(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the same answer of a broker without the look-up; method: leave its answer out."""
    for time in (0, 1_000_001, 2_500_000, 3_000_001, 5_000_001):
        asked = asyncio.run(offset_lookup._ask([at], time))
        assert asked is not None, "the leader has the look-up"
        with monkeypatch.context() as without:
            without.setattr(offset_lookup, "_ask", no_answer)
            assert asyncio.run(offset_lookup.offset_at_time([at], time)) == asked


async def no_answer(*_: object) -> None:
    """Answer as a broker of an earlier version."""


def test_times_are_read() -> None:
    """Goal: ms, and ISO 8601 with and without a zone; method: the same moment in each form."""
    moment = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    ms = round(moment.timestamp() * 1000)
    local = moment.astimezone().replace(tzinfo=None).isoformat()
    for text in (str(ms), "2026-05-01T12:30:00Z", "2026-05-01 14:30+02:00", local):
        assert parse_time(text) == ms
    for text in ("", "noon", "2026-13-01", "-5", "1e3"):
        with pytest.raises(ValueError, match="invalid time"):
            parse_time(text)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("offsets", "--time", "noon"), 2),
        (("offsets", "--time", "-3"), 2),
        (("offsets", "--topic", "x"), 2),
        (("offsets", "-b", "127.0.0.1:1"), 1),
        (("offsets", "-b", "127.0.0.1:1", "--time", "5"), 1),
        (("consume", "-o", "@noon"), 2),
        (("consume", "-o", "e@5"), 2),
    ],
)
def test_what_cannot_be_looked_up(words: tuple[str, ...], code: int) -> None:
    """Goal: the exit code, and no output; method: invalid times, and no broker."""
    done = yak(*words)
    assert (done.returncode, done.stdout) == (code, b"")
