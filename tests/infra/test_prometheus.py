"""A real Prometheus scrapes a real broker, and answers the queries of dashboard and rules."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.infra.test_files import RULES, queries
from tests.net.brokers import brokers, get, post, until
from tests.net.redis_server import free_port
from tests.require import executable
from yak_net.metadata.embedded import EmbeddedMetadata

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a Prometheus with YAK's rules that scrapes a broker with records."""
    program = executable("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with EmbeddedMetadata() as metadata, brokers() as start:
        words = ["--listen", "127.0.0.1:0", "--redis", metadata.url]
        words += ["--data-dir", str(folder / "data")]
        broker = start(folder / "log", *words, fresh=True)
        broker.wait_until_ready()
        assert post(f"{broker.url}/produce", {"records": [{"value": "a"}]})[0] == 200
        assert get(f"{broker.url}/fetch?offset=0")[0] == 200
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "yak",
                    "static_configs": [{"targets": [broker.url.removeprefix("http://")]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        url = f"http://127.0.0.1:{free_port()}"
        with (folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program, f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/tsdb",
                    f"--web.listen-address={url.removeprefix('http://')}",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            until(
                lambda: answer(url, "count_over_time(yak_ready[1m]) >= 3"), "three scrapes"
            )
            yield url
        finally:
            process.kill()
            process.wait()


def answer(url: str, query: str) -> list[Any]:
    """Return the series of a query now."""
    try:
        status, body = get(f"{url}/api/v1/query?query={urllib.parse.quote(query)}")
    except ValueError:
        return []  # it is still starting, and answers 503 with a text
    assert status in (0, 200), (query, body)
    if status == 0:
        return []
    result = body["data"]["result"]
    assert isinstance(result, list)
    return result


def test_each_query_is_answered(prometheus: str) -> None:
    """Goal: no panel is empty and no query is wrong.

    One broker has no other replica, and nothing has failed: these queries have no series.
    """
    rare = ("== 0", "== 1", "> 0", "> 2", "> 0.1", "yak_replica_lag_records", "by (direction)")
    for query in queries():
        found = answer(prometheus, query)
        assert found or query.endswith(rare) or any(part in query for part in rare), query
    assert answer(prometheus, "yak_ready == 1")


def test_no_rule_fires_for_a_healthy_broker(prometheus: str) -> None:
    """Goal: the rules are loaded, healthy, and quiet."""
    found = get(f"{prometheus}/api/v1/rules")[1]["data"]["groups"]
    rules = [rule for group in found for rule in group["rules"]]
    assert len(rules) == 9
    until(
        lambda: all(
            rule["health"] == "ok"
            for group in get(f"{prometheus}/api/v1/rules")[1]["data"]["groups"]
            for rule in group["rules"]
        ),
        "all rules evaluated",
    )
    assert get(f"{prometheus}/api/v1/alerts")[1]["data"]["alerts"] == []
