"""The metrics of a broker: the page of a real cluster, the declared names, and what is counted."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.net.brokers import get, post, until
from tests.net.chaos import NODES, ChaosCluster
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.metrics.declared import METRICS, Kind

Samples = dict[str, dict[tuple[str, ...], float]]
RECORDS = {"records": [{"value": "a" * 100}, {"value": "b" * 100}]}


def page(url: str, accept: str = "") -> tuple[str, str]:
    """Return the content type and the text of a page of metrics."""
    request = urllib.request.Request(f"{url}/metrics", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def scrape(url: str) -> Samples:
    """Return the samples of a page: by name, then by the values of the labels."""
    found: Samples = {}
    for family in parse_text(page(url)[1]):
        for sample in family.samples:
            base = re.sub("_(count|sum|bucket)$", "", sample.name)
            metric = METRICS.get(sample.name) or METRICS.get(base)
            names = tuple(sample.labels) if metric is None else (*metric.labels, "le")
            labels = tuple(sample.labels[name] for name in names if name in sample.labels)
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def openmetrics(text: str) -> list[Family]:
    """Return the families of a page in the format of OpenMetrics."""
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosCluster]:
    """Yield three brokers after a failover: n1 led, was killed, and another broker leads."""
    metadata = EmbeddedMetadata()
    metadata.start()
    brokers = ChaosCluster(tmp_path_factory.mktemp("metrics"), metadata.url)
    try:
        for node in NODES:
            brokers.start(node)
        leader = leader_of(brokers, 1)
        assert post(f"{leader}/v1/records", RECORDS)[0] == 200
        dead = next(node for node, url in brokers.urls.items() if url == leader)
        brokers.kill(dead)
        new = leader_of(brokers, 2)
        assert post(f"{new}/v1/records", RECORDS)[0] == 200
        assert get(f"{new}/v1/records?offset=0")[0] == 200
        assert get(f"{new}/v1/records?offset=99")[0] == 416
        assert post(f"{new}/v1/records", {"records": []})[0] == 400
        yield brokers
    finally:
        brokers.close()
        metadata.stop()


def leader_of(brokers: ChaosCluster, epoch: int) -> str:
    """Wait until all running brokers know a ready leader of ``epoch`` or later; return its URL."""
    found: list[str] = []

    def known() -> bool:
        up = [url for node, url in brokers.urls.items() if brokers.brokers[node].up]
        seen = [get(f"{url}/health")[1] for url in up]
        leaders = {body.get("leader") for body in seen}
        ready = all(body.get("ready") and body["epoch"] >= epoch for body in seen)
        found[:] = [brokers.urls[str(leader)] for leader in leaders if leader]
        return ready and len(leaders) == 1 and bool(found)

    until(known, f"a leader of epoch {epoch}")
    return found[0]


def test_the_page_has_the_state_of_a_leader_and_its_failover(cluster: ChaosCluster) -> None:
    """Method: the new leader's page, after one failover, two batches, a fetch and an error."""
    url = leader_of(cluster, 2)
    body = get(f"{url}/health")[1]
    found = scrape(url)
    assert found["yak_role"] == {("follower",): 0, ("leader",): 1}
    assert found["yak_broker_status"][body["status"],] == 1
    assert sum(found["yak_broker_status"].values()) == 1
    for name, value in {
        "yak_ready": 1,
        "yak_leader_epoch": body["epoch"],
        "yak_high_watermark": 4,
        "yak_log_end_offset": 4,
        "yak_log_flushed_offset": 4,
        "yak_min_isr": 2,
        "yak_replicas": 3,
        "yak_under_min_isr": 0,
        "yak_elections_total": 1,
        "yak_truncated_records_total": 0,
        "yak_produce_records_total": 2,
        "yak_fetch_records_total": 4,
        "yak_store_answers": 1,
        "kafka_server_replicamanager_leadercount": 1,
        "kafka_server_brokertopicmetrics_messagesin_total": 2,
        "kafka_server_brokertopicmetrics_totalproducerequests_total": 1,
        "kafka_server_brokertopicmetrics_failedproducerequests_total": 0,
        "kafka_server_brokertopicmetrics_totalfetchrequests_total": 2,
        "kafka_server_brokertopicmetrics_failedfetchrequests_total": 1,
        "kafka_controller_kafkacontroller_offlinepartitionscount": 0,
    }.items():
        assert found[name] == {(): value}, name
    isr = {("yak", "0"): found["yak_isr_size"][()]}
    assert found["kafka_cluster_partition_insyncreplicascount"] == isr
    assert found["yak_errors_total"] == {("Fetch", "OFFSET_OUT_OF_RANGE"): 1}
    assert found["kafka_topic_partition_current_offset"] == {("yak", "0"): 4}
    size = found["yak_produce_bytes_total"][()]
    assert 200 < size < 400
    assert found["yak_log_bytes"][()] >= 2 * size
    other = next(node for node in NODES if cluster.urls[node] != url and cluster.brokers[node].up)
    assert found["yak_replica_log_end_offset"][other,] == 4
    assert found["yak_replica_lag_records"][other,] == 0
    assert found["yak_replica_lag_seconds"][other,] == 0
    assert found["yak_replication_bytes_total"]["sent",] == size
    assert 0 < found["yak_lease_remaining_seconds"][()] <= 1
    for phase in ("detect", "elect", "first_ack"):
        assert found["yak_failover_seconds_count"][phase,] == 1, phase
    # The lease of the test is 1 s: nobody campaigns before its end.
    assert 0.5 < found["yak_failover_seconds_sum"]["detect",] < 30
    assert found["yak_flush_seconds_count"][()] >= 2
    assert found["yak_request_seconds_count"]["Produce",] == 1
    assert found["yak_store_call_seconds_count"]["renew",] >= 1
    assert found["yak_connections"][()] >= 1
    dead = next(node for node in NODES if not cluster.brokers[node].up)
    assert found["yak_peer_connected"] == {(other,): 1, (dead,): 0}
    assert found["process_open_fds"][()] > 10


def test_a_follower_reports_only_what_it_knows(cluster: ChaosCluster) -> None:
    """Goal: no guess of the leader's numbers. Method: a follower's page."""
    leader = leader_of(cluster, 2)
    node, url = next(
        pair for pair in cluster.urls.items() if pair[1] != leader and cluster.brokers[pair[0]].up
    )
    found = scrape(url)
    assert found["yak_role"] == {("follower",): 1, ("leader",): 0}
    assert found["yak_replica_log_end_offset"] == {(node,): 4}
    for absent in (
        "yak_replica_lag_records",
        "yak_replica_lag_seconds",
        "yak_failover_seconds_sum",
    ):
        assert not any(found.get(absent, {}).values()), absent
    assert "yak_lease_remaining_seconds" not in found
    assert 0 <= found["yak_leader_silent_seconds"][()] < 5
    assert found["yak_replication_records_total"]["received",] >= 2
    assert found["kafka_cluster_partition_insyncreplicascount"] == {("yak", "0"): 0}
    assert "kafka_topic_partition_current_offset" not in found


def test_every_name_is_declared_and_every_declared_name_is_there(cluster: ChaosCluster) -> None:
    """Method: the pages of leader and follower together, with their kinds, in both formats."""
    urls = [url for node, url in cluster.urls.items() if cluster.brokers[node].up]
    for url in urls:
        get(f"{url}/no-such-page")
    found: dict[str, str] = {}
    for url in urls:
        content_type, text = page(url)
        assert content_type.startswith("text/plain; version=")
        opened, text_opened = page(url, "application/openmetrics-text; version=1.0.0")
        assert opened.startswith("application/openmetrics-text; version=1.0.0")
        kinds = {one.name: one.type for one in parse_text(text)}
        assert {one.name for one in openmetrics(text_opened)} >= {
            name for name in kinds if name.startswith(("yak_", "kafka_"))
        }
        found |= kinds
    ours = {
        name: kind for name, kind in found.items() if not name.startswith(("process_", "python_"))
    }
    declared = {
        metric.name.removesuffix("_total"): metric.kind.value for metric in METRICS.values()
    }
    rare = {"yak_ignored_messages", "yak_errors"}
    assert {name: kind for name, kind in declared.items() if name not in rare} == {
        name: kind for name, kind in ours.items() if name not in rare
    }
    assert all(metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
               for metric in METRICS.values())  # fmt: skip


def test_foreign_paths_and_methods_make_no_series(cluster: ChaosCluster) -> None:
    """Goal: a client cannot fill the memory with labels."""
    url = leader_of(cluster, 2)
    for path in ("/a", "/b", "/v1/records/9"):
        get(f"{url}{path}")
    found = scrape(url)["yak_http_requests_total"]
    assert {path for _, path, _ in found} <= {
        "other", "/health", "/v1/records", "/metrics", "/v1/cluster",
        "/v1/peer", "/v1/client",
    }  # fmt: skip
    assert found["GET", "other", "404"] >= 3
    assert found["POST", "/v1/records", "400"] == 1


def test_offsets_by_name_and_time_and_the_replicas(cluster: ChaosCluster) -> None:
    """Method: the leader's offsets, by the timestamps of its records; the replicas by a follower.

    A follower does not list offsets, but shows all replicas.
    """
    url = leader_of(cluster, 2)
    records = get(f"{url}/v1/records?offset=0")[1]["records"]
    status, plain = get(f"{url}/v1/offsets")
    nothing = {"offset": None, "timestamp_ms": None, "epoch": None}
    assert (status, plain) == (200, {"earliest": 0, "latest": 4, **nothing})
    for record in records:
        time = record["timestamp_ms"]
        found = get(f"{url}/v1/offsets?timestamp={time}")[1]
        first = next(one for one in records if one["timestamp_ms"] >= time)
        assert found["offset"] == first["offset"]
        assert (found["timestamp_ms"], found["epoch"]) == (time, first["epoch"])
    late = records[-1]["timestamp_ms"] + 1
    assert get(f"{url}/v1/offsets?timestamp={late}")[1] == {**plain, **nothing}
    for query in ("timestamp=x", "timestamp=-1", "time=1", "timestamp=1&timestamp=2"):
        assert get(f"{url}/v1/offsets?{query}")[0] == 400, query
    other = next(u for n, u in cluster.urls.items() if u != url and cluster.brokers[n].up)
    refused, body = get(f"{other}/v1/offsets")
    assert (refused, body["error"]) == (421, "NOT_LEADER_OR_FOLLOWER")
    status, body = get(f"{other}/v1/replicas")
    rows = {row["id"]: row for row in body["replicas"]}
    assert (status, sorted(rows), cluster.urls[body["leader"]]) == (200, list(NODES), url)
    for node, row in rows.items():
        assert row["up"] is cluster.brokers[node].up
        if row["up"]:
            assert (row["leo"], row["hw"], row["lag_records"], row["lag_ms"]) == (4, 4, 0, 0)
            assert row["caught_up_at_ms"] >= records[0]["timestamp_ms"]
