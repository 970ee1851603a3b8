"""Each deployment file passes the check of the program that reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.infra.compose import BROKERS, INFRA, services
from tests.net.brokers import ROOT
from tests.require import executable, module
from yak_net.metrics.declared import METRICS, Kind

RULES = INFRA / "prometheus" / "alerts.yml"
DASHBOARD = INFRA / "grafana" / "dashboards" / "yak.json"
NAME = re.compile(r"\b(?:yak|kafka)_\w+")


def names_in(query: str) -> set[str]:
    """Return the metrics of a query."""
    return set(NAME.findall(query))


def queries() -> list[str]:
    """Return the queries of the dashboard and of the alert rules."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return shown + [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.long
def test_compose_file_publishes_the_documented_ports_on_loopback() -> None:
    """Goal: the ports of the README, and no port that another machine can reach."""
    found = services()
    published = {
        name: [str(port) for port in service.get("ports", [])] for name, service in found.items()
    }
    expected = {name: [f"127.0.0.1:{port}:{port}/tcp"] for name, port in BROKERS.items()}
    expected |= {"redis": ["127.0.0.1:6379:6379/tcp"], "prometheus": ["127.0.0.1:9090:9090/tcp"]}
    expected |= {"grafana": ["127.0.0.1:3000:3000/tcp"], "producer": [], "consumer": []}
    assert published == expected


@pytest.mark.long
def test_profiles_add_services() -> None:
    """Goal: the plain command starts Redis and three brokers, nothing else."""
    profiles = {name: service.get("profiles", []) for name, service in services().items()}
    expected: dict[str, list[str]] = {name: [] for name in ("redis", *BROKERS)}
    expected |= {name: ["observe"] for name in ("prometheus", "grafana")}
    assert profiles == expected | {name: ["demo"] for name in ("producer", "consumer")}
    assert "name" not in yaml.safe_load((INFRA / "compose.yaml").read_text())


@pytest.mark.long
def test_each_broker_has_two_addresses() -> None:
    """Goal: the published port for clients, the service name for brokers."""
    found = services()
    for name, port in BROKERS.items():
        service = found[name]
        env = service["environment"]
        assert env["YAK_ADVERTISED_URL"] == f"http://127.0.0.1:{port}"
        assert env["YAK_PEER_URL"] == f"http://{name}:{port}"
        assert service["command"] == ["broker", "--insecure"]


UNITS = sorted((INFRA / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_is_valid(unit: Path, tmp_path: Path) -> None:
    """Goal: systemd accepts the unit. Method: its program is replaced by one that exists."""
    program = executable("systemd", "systemd-analyze")
    copy = tmp_path / unit.name.replace("@", "@n1")
    for text, code in ((unit.read_text(), 0), (unit.read_text() + "\n[Service]\nType=x y\n", 1)):
        assert text.count("/opt/yak/bin/yak ") == 1
        copy.write_text(text.replace("/opt/yak/bin/yak ", f"{shutil.which('true')} "))
        done = subprocess.run(
            [program, "verify", str(copy)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, bool(done.stderr)) == (0, bool(code)), done.stderr


@pytest.mark.long
def test_kubernetes_files_are_valid() -> None:
    """Goal: each object has the fields of its schema, and no other."""
    module("kubernetes-validate", "kubernetes_validate")
    import kubernetes_validate

    found = list(yaml.safe_load_all((INFRA / "kubernetes" / "yak.yaml").read_text()))
    version = kubernetes_validate.latest_version()
    for each in found:
        kubernetes_validate.validate(each, version, strict=True)
    [broker] = [
        each["spec"]["template"]["spec"]
        for each in found
        if each["kind"] == "StatefulSet" and each["metadata"]["name"] == "yak"
    ]
    assert broker["enableServiceLinks"] is False, "a service sets YAK_PORT otherwise"
    [container] = broker["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    container["readinesProbe"] = {}
    wrong = next(each for each in found if each["metadata"]["name"] == "yak")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_redis_settings_are_equal_in_compose_and_kubernetes() -> None:
    """Goal: one list of settings that the promise needs."""

    def settings(text: str) -> set[str]:
        return {line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"}

    [config] = [
        each["data"]["redis.conf"]
        for each in yaml.safe_load_all((INFRA / "kubernetes" / "yak.yaml").read_text())
        if each["kind"] == "ConfigMap"
    ]
    given = settings((INFRA / "redis.conf").read_text())
    assert given == settings(config)
    assert given >= {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"}


def test_alert_rules_are_valid() -> None:
    program = executable("prometheus", "promtool")
    config = RULES.with_name("prometheus.yml")
    for words in (["rules", str(RULES)], ["config", "--syntax-only", str(config)]):
        done = subprocess.run(
            [program, "check", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_queries_use_declared_metrics() -> None:
    """Goal: a renamed metric fails here, and not as an empty panel."""
    known = set(METRICS)
    for metric in METRICS.values():
        if metric.kind is Kind.HISTOGRAM:
            known.update({f"{metric.name}_bucket", f"{metric.name}_count", f"{metric.name}_sum"})
    for query in queries():
        assert names_in(query) <= known, query


def test_image_copies_what_the_build_context_has() -> None:
    """Goal: .dockerignore excludes nothing that the Dockerfile copies."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line[0] == "!"}
    copied: set[str] = set()
    for line in (INFRA / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied.update(line.split()[1:-1])
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)
