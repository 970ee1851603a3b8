"""Settings of a broker: options become settings, or an error with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from yak_net import cli
from yak_net.runtime.settings import (
    BrokerSettings,
    Role,
    SettingsError,
    check,
    is_loopback,
    parse_brokers,
    parse_config,
    parse_listen,
    parse_url,
    parse_urls,
)


@pytest.mark.parametrize(
    ("word", "url"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("http://n1", "http://n1:8080"),
        ("https://n1:1/", "https://n1:1"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_url_short_and_long(word: str, url: str) -> None:
    """Goal: host:port is enough; the default port is 8080."""
    assert parse_url(word) == url


@pytest.mark.parametrize(
    "word", ["", "http://", "x:y", "http://n1:99999", "http://n1/path", "ftp://n1"]
)
def test_bad_url_is_refused(word: str) -> None:
    """Goal: an address without a valid host and port is refused."""
    with pytest.raises(SettingsError, match="broker address"):
        parse_url(word)


def test_lists_of_brokers_and_followers() -> None:
    """Goal: commas, spaces and empty parts; a duplicate or nameless broker is refused."""
    assert parse_brokers(" n1=h:1, n2=http://h:2 ,") == (("n1", "http://h:1"), ("n2", "http://h:2"))
    assert parse_urls("h:1,,http://h:2") == ("http://h:1", "http://h:2")
    for wrong in ("n1=h:1,n1=h:2", "=h:1", "h:1", "a b=h:1"):
        with pytest.raises(SettingsError):
            parse_brokers(wrong)


def test_listen_address() -> None:
    """Goal: host and port, an IPv6 host, or a port alone."""
    assert parse_listen("127.0.0.1:0") == ("127.0.0.1", 0)
    assert parse_listen("[::1]:80") == ("::1", 80)
    assert parse_listen(":9") == ("127.0.0.1", 9)
    for wrong in ("n1", "n1:", "n1:70000", "n1:x"):
        with pytest.raises(SettingsError):
            parse_listen(wrong)


def test_configuration_numbers() -> None:
    """Goal: any number of the configuration can be set, unless it has its own option."""
    assert parse_config(("lease_us=1000000", "window_bytes=5")) == (
        ("lease_us", 1_000_000),
        ("window_bytes", 5),
    )
    for wrong in ("lease_us", "lease_us=-1", "flush=os", "replicas=3", "min_isr=1", "x=1"):
        with pytest.raises(SettingsError):
            parse_config((wrong,))


def test_loopback_is_known() -> None:
    """Goal: only loopback addresses need no --insecure."""
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "n1.example")))
    open_to_all = BrokerSettings("n1", host="10.0.0.1")
    with pytest.raises(SettingsError, match="--insecure"):
        check(open_to_all)
    assert check(replace(open_to_all, insecure=True)).url_at(1) == "http://10.0.0.1:1"
    with pytest.raises(SettingsError, match="--advertised-url"):
        check(BrokerSettings("n1", host="0.0.0.0", insecure=True))


def test_role_decides_on_creation_and_min_isr() -> None:
    """Goal: a leader creates the state; min ISR is two with two replicas."""
    alone = check(BrokerSettings("n1"))
    assert (alone.knows_replicas, alone.creates) == (True, True)
    assert alone.broker_config("u", ("n1",)).min_isr == 1
    follower = check(BrokerSettings("n1", role=Role.FOLLOWER))
    assert (follower.knows_replicas, follower.creates) == (False, False)
    leader = check(BrokerSettings("n1", role=Role.LEADER, followers=("http://h:1",)))
    assert (leader.knows_replicas, leader.creates) == (False, True)
    assert leader.broker_config("u", ("n1", "n2")).min_isr == 2
    with pytest.raises(SettingsError, match="--followers"):
        check(BrokerSettings("n1", role=Role.FOLLOWER, followers=("http://h:1",)))
    with pytest.raises(SettingsError, match="--brokers and --followers"):
        check(
            BrokerSettings("n1", brokers=(("n1", "http://h:1"),), followers=("http://h:2",))
        )


def test_options_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the environment variables work, and an option wins over its variable."""
    seen: list[BrokerSettings] = []

    def run(settings: BrokerSettings, *, verbose: bool) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("yak_net.broker.process.run", run)
    env = {
        "YAK_ROLE": "leader",
        "YAK_NODE_ID": "one",
        "YAK_HOST": "127.0.0.1",
        "YAK_PORT": "8081",
        "YAK_FOLLOWERS": "http://127.0.0.1:8082",
        "YAK_REDIS_URL": "redis://127.0.0.1:7000/1",
        "YAK_DATA_DIR": "here",
    }
    assert CliRunner().invoke(cli.broker, [], env=env).exit_code == 0
    words = ["--port", "9", "--node-id", "two"]
    assert CliRunner().invoke(cli.broker, words, env=env).exit_code == 0
    first, second = seen
    assert first == BrokerSettings(
        "one",
        port=8081,
        followers=("http://127.0.0.1:8082",),
        role=Role.LEADER,
        redis_url="redis://127.0.0.1:7000/1",
        data_dir=Path("here"),
    )
    assert (second.node_id, second.port, second.host) == ("two", 9, "127.0.0.1")
