"""``yak bench produce | consume | e2e`` on a given cluster; the numbers are not checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner, Result

from benchmarks.command import bench
from tests.benchmarks.running import check
from tests.net.client_commands import one_broker, values


def test_clients_of_a_given_cluster_are_measured(tmp_path: Path) -> None:
    """Goal: the records are sent, read and awaited; method: a broker, a few records."""
    with one_broker(tmp_path) as broker:
        found = run("consume", "-b", broker.url, "--quick")
        assert (found.exit_code, found.stdout) == (1, ""), "the log has no records"
        lines = [*rows("produce", "-b", broker.url, "--count", "50", "--size", "30")]
        lines += rows("e2e", "-b", broker.url, "--count", "3")
        lines += rows("consume", "-b", broker.url, "--seconds", "0.01")
        assert [line["figure"] for line in lines] == [
            "produce_records_per_s", "produce_mb_per_s", "ack_mean_us", "ack_p50_us", "ack_p95_us",
            "ack_p99_us", "ack_p999_us", "ack_max_us", "e2e_mean_us", "e2e_p50_us", "e2e_p95_us",
            "e2e_p99_us", "e2e_p999_us", "e2e_max_us", "consume_records_per_s", "consume_mb_per_s",
        ]  # fmt: skip
        assert {len(value or b"") for value in values(broker.url, 0, 51)} == {30}
        text = run("produce", "-b", broker.url, "--count", "1")
        assert text.exit_code == 0
        assert "produce_records_per_s" in text.stdout
    assert run("produce", "-b", "http://", "--count", "1").exit_code == 2
    assert run("produce", "-b", "127.0.0.1:1", "--count", "1").exit_code == 1


def run(*words: str) -> Result:
    """Run ``yak bench`` in this process."""
    return CliRunner().invoke(bench, words)


def rows(*words: str) -> Iterator[dict[str, object]]:
    """Yield the lines of a command that succeeds."""
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    for text in done.stdout.splitlines():
        line = json.loads(text)
        check(line)
        yield line
