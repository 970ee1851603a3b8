"""Real brokers answer as /openapi.json says; schemathesis makes requests and checks the answers.

Its checks: no status above 499 but 503 and 504, only documented statuses, content types, headers
and bodies, valid requests are accepted, invalid ones refused, and other methods get 405.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.brokers import CLEAN, ROOT
from tests.net.client_commands import one_broker, send
from tests.net.http_tools import DOCUMENT
from tests.net.local_cluster import local_cluster
from tests.require import module

CONFIG = str(Path(__file__).with_name("samples") / "schemathesis.toml")
STREAMS = ("--exclude-path-regex", "stream$")
"""Streams have no end; the last test reads their beginnings."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a broker that leads, with a record."""
    module("schemathesis")
    with one_broker(tmp_path_factory.mktemp("broker")) as one:
        send(one.url, b"first")
        yield one.url


def run(place: str, folder: Path, *words: str) -> dict[str, Any]:
    """Run schemathesis to its end; return its report, with its output."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", place]
    command += ["--no-color", "--generation-database", "none", "--continue-on-failure"]
    command += ["--report", "json", "--report-json-path", str(report), *words]
    env = {**CLEAN, "PYTHONPATH": os.pathsep.join([str(ROOT), CLEAN.get("PYTHONPATH", "")])}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    assert found["exit_code"] == done.returncode
    return {**found, "output": done.stdout}


def check(report: dict[str, Any], operations: int, requests: int) -> None:
    """Check that nothing was found, and that at least so many requests were made."""
    assert report["exit_code"] == 0, report["output"]
    assert report["operations"]["tested"] == operations, report["output"]
    assert report["test_cases"]["generated"] >= requests, report["output"]


@pytest.mark.long
def test_the_document_is_valid_openapi() -> None:
    """Method: the schema of OpenAPI 3.1, and a document that it refuses."""
    module("schemathesis")
    import schemathesis

    schemathesis.openapi.from_dict(DOCUMENT).validate()
    wrong = {**DOCUMENT, "paths": {"/health": {"get": {"responses": []}}}}
    with pytest.raises(Exception, match=r"responses|not of type"):
        schemathesis.openapi.from_dict(wrong).validate()


def test_a_broker_answers_as_documented(broker: str, tmp_path: Path) -> None:
    """Method: each limit of the parameters of one endpoint, invalid requests, other methods."""
    words = ("--include-path", "/v1/offsets", "--include-path", "/health", "--phases", "coverage")
    check(run(f"{broker}/openapi.json", tmp_path, *words), 2, 40)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_leader_answers_as_documented(broker: str, tmp_path: Path) -> None:
    """Method: all endpoints, each limit, and random valid and invalid requests."""
    words = (*STREAMS, "--phases", "coverage,fuzzing", "--max-examples", "30")
    check(run(f"{broker}/openapi.json", tmp_path, *words), 12, 700)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_fetches_follow_the_links(broker: str, tmp_path: Path) -> None:
    """Method: produce, fetch from the offset in the answer, and fetch what follows."""
    words = (*STREAMS, "--phases", "stateful", "--mode", "positive", "--max-examples", "50")
    report = run(f"{broker}/openapi.json", tmp_path, *words)
    assert report["exit_code"] == 0, report["output"]
    assert report["test_cases"]["generated"] > 50, report["output"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_follower_answers_as_documented(tmp_path: Path) -> None:
    """Goal: 421 and 307 are documented, too. Method: a follower of three brokers."""
    module("schemathesis")
    with local_cluster(tmp_path) as cluster:
        found = cluster.until_in_sync("n1", "n2", "n3")
        follower = next(row["url"] for row in found["replicas"] if row["id"] != found["leader"])
        words = (*STREAMS, "--phases", "coverage", "--max-redirects", "0")
        check(run(f"{follower}/openapi.json", tmp_path, *words), 12, 500)


@pytest.mark.long
def test_an_undocumented_answer_is_noticed(broker: str, tmp_path: Path) -> None:
    """Goal: the checks above can fail. Method: a document without a status, or another type."""
    for status, answer in (("400", None), ("200", {"description": "none"})):
        document = json.loads(json.dumps(DOCUMENT))
        responses = document["paths"]["/v1/offsets"]["get"]["responses"]
        del responses[status]
        if answer is not None:
            responses[status] = {
                **answer,
                "content": {"application/json": {"schema": {"type": "string"}}},
            }
        changed = tmp_path / "openapi.json"
        changed.write_text(json.dumps(document))
        words = ("--url", broker, "--include-path", "/v1/offsets", "--phases", "coverage")
        report = run(str(changed), tmp_path, *words)
        assert (report["exit_code"], bool(report["failures"])) == (1, True), report["output"]


@pytest.mark.long
@pytest.mark.parametrize("path", ["/v1/records/stream", "/v1/cluster/stream"])
def test_streams_begin_as_documented(broker: str, path: str) -> None:
    """Method: random valid and invalid requests; read status, headers and the first line."""
    import requests
    import schemathesis
    from hypothesis import HealthCheck, given, settings

    operation = schemathesis.openapi.from_dict(DOCUMENT)[path]["GET"]
    responses = DOCUMENT["paths"][path]["get"]["responses"]
    slow = list(HealthCheck)
    statuses: set[int] = set()

    for mode in schemathesis.GenerationMode:

        @settings(max_examples=40, database=None, deadline=None, suppress_health_check=slow)
        @given(operation.as_strategy(generation_mode=mode))
        def check_one(case: Any) -> None:
            request = case.as_transport_kwargs(base_url=broker)
            with requests.request(**request, stream=True, timeout=10) as answer:
                line = next(answer.iter_lines())
            status, found = answer.status_code, responses[str(answer.status_code)]
            statuses.add(status)
            assert answer.headers["Content-Type"].split(";")[0] in found["content"]
            assert {"Yak-Node", "Yak-Cluster"} <= set(answer.headers) & set(found["headers"])
            assert line.startswith(b"retry: " if status == 200 else b"{")

        check_one()
    assert {200, 400} <= statuses
