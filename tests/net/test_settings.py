"""Settings of a broker: options become settings, or an error with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from yak_net import cli
from yak_net.cluster.cli import cluster
from yak_net.runtime.settings import (
    BrokerSettings,
    Profile,
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
    "word",
    [
        *("", "http://", "x:y", "http://n1:99999", "http://n1/path", "ftp://n1"),
        *("n1:0", "http://[::1]:0", "http://n\r1:80", "http://n 1:80"),
    ],
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


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "0", "[::ffff:0.0.0.0]", "[0:0::0]"])
def test_address_for_others_is_one_of_a_machine(host: str) -> None:
    """Goal: no broker advertises, or receives, an address to which clients cannot connect."""
    url = parse_url(f"{host}:8080")
    for settings, option in (
        (BrokerSettings("n1", advertised_url=url), "--advertised-url"),
        (BrokerSettings("n1", peer_url=url), "--peer-url"),
        (BrokerSettings("n1", brokers=(("n1", "http://h:1"), ("n2", url))), "--brokers"),
        (BrokerSettings("n1", followers=(url,)), "--followers"),
    ):
        with pytest.raises(SettingsError, match=option) as refused:
            check(settings)
        assert url in str(refused.value)


def test_host_that_stands_for_all_addresses_needs_an_advertised_url() -> None:
    """Goal: every spelling of the wildcard is known."""
    for host in ("0.0.0.0", "::", "0", "::0"):
        with pytest.raises(SettingsError, match="--advertised-url"):
            check(BrokerSettings("n1", host=host, insecure=True))
    named = BrokerSettings("n1", host="::", insecure=True, advertised_url="http://n1.example:80")
    assert check(named).url_at(1) == "http://n1.example:80"
    with pytest.raises(SettingsError, match="--advertised-url"):
        check(replace(named, advertised_url="", peer_url="http://n1.example:80"))


def test_peer_url_is_the_url_for_clients_unless_it_is_given() -> None:
    """Goal: the core gets a peer URL only if it is another one."""
    for given, expected in (("", ""), ("http://c:1", ""), ("http://p:1", "http://p:1")):
        settings = BrokerSettings("n1", advertised_url="http://c:1", peer_url=given)
        config = settings.broker_config(settings.url_at(8080), ("n1",))
        assert (config.url, config.peer_url) == ("http://c:1", expected)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("host", BrokerSettings("n1", host="127.0.0.1\r", insecure=True)),
        ("data-dir", BrokerSettings("n1", data_dir=Path("d5\r"))),
        ("redis-url", BrokerSettings("n1", redis_url="redis://h:1/0 ")),
        ("trace", BrokerSettings("n1", trace=Path("t\n"))),
    ],
)
def test_white_space_at_the_end_is_shown_and_refused(name: str, settings: BrokerSettings) -> None:
    """Goal: no host or folder has a name that ends with the CR of a file from Windows."""
    with pytest.raises(SettingsError, match=rf"{name} .*(\\r|\\n| ')"):
        check(settings)


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


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[BrokerSettings]:
    """Collect the settings of brokers instead of running them."""
    seen: list[BrokerSettings] = []

    def run(settings: BrokerSettings, *, verbose: bool, log_format: object) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("yak_net.broker.process.run", run)
    return seen


def test_white_space_around_variables_is_ignored(started: list[BrokerSettings]) -> None:
    """Goal: variables from a file with CRLF line ends work."""
    env = {
        "YAK_HOST": "127.0.0.1\r",
        "YAK_PORT": " 8081\r\n",
        "YAK_DATA_DIR": "d5\r",
        "YAK_REDIS_URL": "redis://127.0.0.1:7000/1\r",
        "YAK_ROLE": "leader\t",
        "YAK_INSECURE": "\r",
    }
    done = CliRunner().invoke(cli.broker, [], env=env)
    assert (done.exit_code, done.output) == (0, "")
    assert started == [
        BrokerSettings(
            "n1", port=8081, data_dir=Path("d5"), redis_url="redis://127.0.0.1:7000/1",
            role=Role.LEADER,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["tcp://10.96.12.7:8080", "udp://10.0.0.1:53"])
def test_variable_of_a_service_with_our_name_is_ignored(
    value: str, started: list[BrokerSettings]
) -> None:
    """Goal: a broker starts beside a Kubernetes service yak; one remark names the variable."""
    done = CliRunner().invoke(cli.broker, [], env={"YAK_PORT": value})
    assert (done.exit_code, started) == (0, [BrokerSettings("n1")])
    assert done.stderr.count("YAK_PORT") == len(done.stderr.splitlines()) == 1
    assert (value in done.stderr, "--port" in done.stderr) == (True, True)


@pytest.mark.parametrize(
    ("env", "given", "named"),
    [
        ({"YAK_PORT": "high"}, "", "YAK_PORT"),
        ({"YAK_FLUSH": "never"}, "", "YAK_FLUSH"),
        ({"YAK_REDIS": "x:y", "YAK_NODE_ID": "a b"}, "", "YAK_NODE_ID"),
        ({"YAK_FOLLOWERS": "h:1,a b"}, "", "YAK_FOLLOWERS"),
        ({"YAK_ADVERTISED_URL": "0.0.0.0:1"}, "", "YAK_ADVERTISED_URL"),
        ({"YAK_PEER_URL": "0.0.0.0:1"}, "", "YAK_PEER_URL"),
        ({"YAK_PEER_URL": "n1:0"}, "", "YAK_PEER_URL"),
        ({"YAK_PORT": "1"}, "--port high", ""),
        ({"YAK_NODE_ID": "n1"}, "--followers h:0", ""),
    ],
)
def test_error_names_the_variable(env: dict[str, str], given: str, named: str) -> None:
    """Goal: exit code 2, and the variable of the value if it came from the environment."""
    done = CliRunner().invoke(cli.broker, given.split(), env=env)
    assert done.exit_code == 2
    assert [name for name in env if name in done.stderr] == ([named] if named else [])


@pytest.mark.parametrize(("name", "value"), [("YAK_NODES", "many"), ("YAK_DATA_DIR", "a\x01b")])
def test_error_of_cluster_up_names_the_variable(name: str, value: str) -> None:
    """Goal: the same for the other command whose options have variables."""
    done = CliRunner().invoke(cluster, ["up"], env={name: value})
    assert (done.exit_code, name in done.stderr) == (2, True)


def test_options_come_before_the_environment(started: list[BrokerSettings]) -> None:
    """Goal: the environment variables work, and an option wins over its variable."""
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
    first, second = started
    assert first == BrokerSettings(
        "one",
        port=8081,
        followers=("http://127.0.0.1:8082",),
        role=Role.LEADER,
        redis_url="redis://127.0.0.1:7000/1",
        data_dir=Path("here"),
    )
    assert (second.node_id, second.port, second.host) == ("two", 9, "127.0.0.1")


def test_a_profile_sets_periods_that_options_override() -> None:
    """Goal: --profile wan has the values of its help; --config comes before it."""
    wan = {"lease_renew_us": 1_000_000, "lease_us": 10_000_000, "store_timeout_us": 2_000_000}
    assert dict(parse_config((), Profile.WAN)) == wan
    assert dict(parse_config(("lease_us=7000000",), Profile.WAN)) == wan | {"lease_us": 7_000_000}
    assert parse_config(()) == ()
    config = BrokerSettings("n1", config=parse_config((), Profile.WAN)).broker_config("u", ("n1",))
    assert (config.lease_us, config.lease_renew_us, config.store_timeout_us) == (
        10_000_000,
        1_000_000,
        2_000_000,
    )


def test_the_environment_selects_a_profile(started: list[BrokerSettings]) -> None:
    """Method: the command, with and without the variable, and with an unknown profile."""
    for env in ({"YAK_PROFILE": "wan"}, {}):
        assert CliRunner().invoke(cli.broker, [], env=env).exit_code == 0
    assert [each.config_value("lease_us") for each in started] == [10_000_000, 3_000_000]
    assert CliRunner().invoke(cli.broker, ["--profile", "moon"]).exit_code == 2
