"""The health of a real cluster: without its store, and without its followers."""

from __future__ import annotations

import json
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.net.brokers import get, until
from tests.net.cluster_tools import marked
from tests.net.redis_server import redis_server
from yak_net.cluster.cli import cluster


@pytest.mark.long
def test_health_is_that_of_acks_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: ready and degraded while records are committed without the store, then not ready.

    Method: stop the Redis server with SIGSTOP, send a record, continue it; kill both followers.
    Another folder asks by the address of one broker.
    """
    with redis_server() as server, marked() as processes:
        yak = partial(processes.yak, tmp_path)
        up = yak("cluster", "up", "-d", "--redis", server.url)
        assert up.returncode == 0, up.stderr
        state = json.loads((tmp_path / ".yak" / "cluster.json").read_text())
        urls = {row["id"]: row["url"] for row in state["brokers"]}
        address = urls["n2"].removeprefix("http://")
        monkeypatch.chdir(tmp_path)

        def status(*words: str) -> Result:
            return CliRunner().invoke(cluster, ["status", *words])

        (tmp_path / "elsewhere").mkdir()
        with chdir(tmp_path / "elsewhere"):
            done = status("--json", "-b", address)
        seen = json.loads(done.stdout)
        assert (done.exit_code, seen["ready"], seen["reason"]) == (0, True, "")
        assert [row["pid"] for row in seen["brokers"]] == [None] * 3
        leader = seen["leader"]
        # With fewer members, one that is slow could make the leader report that it cannot commit.
        until(
            lambda: all(len(get(f"{url}/v1/cluster")[1]["isr"]) == 3 for url in urls.values()),
            "every broker knows the full ISR",
        )
        server.pause()
        until(lambda: health_of(urls[leader])["reason"], "a reason")
        assert yak("produce", "-m", "without the store").returncode == 0
        for url in urls.values():
            # A broker that gets no processor for two seconds is not ready in this time.
            until(partial(is_ready, url), "ready without the store")
        assert health_of(urls[leader])["status"] == "degraded"
        assert status().exit_code == 0
        server.resume()
        until(lambda: health_of(urls[leader])["status"] == "ok", "the store is back")
        for node in urls:
            if node != leader:
                assert yak("cluster", "kill", node).returncode == 0
        done = status()
        assert (done.exit_code, "min ISR is 2" in done.stderr) == (10, True), "at once"
        until(lambda: get(f"{urls[leader]}/readyz")[0] == 503, "not ready")
        assert get(f"{urls[leader]}/livez") == (200, {"live": True, "reason": ""})
        done = status()
        assert (done.exit_code, "no ack of" in done.stderr) == (10, True)
        assert yak("cluster", "restart", "n2" if leader != "n2" else "n3").returncode == 0
        until(lambda: status().exit_code == 0, "ready again")
        assert yak("cluster", "down").returncode == 0


def is_ready(url: str) -> bool:
    """Return whether /readyz answers 200."""
    return get(f"{url}/readyz")[0] == 200


def health_of(url: str) -> dict[str, Any]:
    """Return the body of /health."""
    return get(f"{url}/health")[1]
