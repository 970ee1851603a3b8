"""``yak doctor`` names what is wrong in eight broken set-ups, and says what to do.

Goal: the check that finds it, exit code 10, advice; and nothing in a sound set-up. Method: each
set-up is made for real: a taken port, real Redis servers, a full file system, another clock.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.net.brokers import CLEAN, ROOT, BrokerProcess, brokers, get, until
from tests.net.client_commands import one_broker, yak
from tests.net.redis_server import RedisServer, free_port, redis_server
from tests.net.small_disk import small_disk
from tests.require import executable
from yak_net.doctor.cli import doctor as command
from yak_net.doctor.clocks import clock_result
from yak_net.doctor.results import Severity
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.storage import open_storage

OTHER_HOST = "127.0.0.7"
"""Loopback addresses that a test does not listen on refuse connections."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrokerProcess, Path]]:
    """Yield a broker that is well, and its data folder."""
    folder = tmp_path_factory.mktemp("sound")
    with one_broker(folder) as broker:
        yield broker, folder / "data"


@pytest.fixture(scope="module")
def weak_redis() -> Iterator[RedisServer]:
    """Yield a Redis that keeps nothing and deletes keys when its memory is full."""
    with redis_server("--appendonly", "no", "--maxmemory-policy", "allkeys-lru", tcp=True) as one:
        yield one


def doctor(*words: str) -> tuple[int, list[dict[str, Any]]]:
    """Run ``yak doctor --json`` in this process; return the exit code and the results."""
    env = dict.fromkeys(name for name in os.environ if name.startswith("YAK_"))
    done = CliRunner().invoke(command, ["--json", *words], env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def wrong(results: list[dict[str, Any]]) -> dict[str, str]:
    """Return the advice of each result that is a warning or an error, by check."""
    bad = {each["check"]: each["advice"] for each in results if each["severity"] in BAD}
    assert all(bad.values()), "each has advice"
    return bad


BAD = (Severity.WARNING, Severity.ERROR)


def test_a_sound_set_up_has_nothing_wrong(sound: tuple[BrokerProcess, Path]) -> None:
    """Goal: exit code 0, and every check has run; method: a broker, its data, a good Redis."""
    broker, data = sound
    with redis_server(tcp=True) as server:
        code, results = doctor("-b", broker.url)
        assert (code, wrong(results)) == (0, {})
        assert {"cluster", "advertised", "clock"} <= checks(results)
        free = f"127.0.0.1:{free_port()}"
        code, results = doctor("--listen", free, "--redis", server.url, "--cluster", "new")
        assert (code, wrong(results)) == (0, {})
        assert {"port", "store", "clock", "open-files"} <= checks(results)
    address = broker.url.removeprefix("http://")
    code, results = doctor("--listen", address, "--node-id", "n1", "--data-dir", str(data))
    assert (code, wrong(results)) == (0, {})
    assert {"port", "data", "disk"} <= checks(results)


def checks(results: list[dict[str, Any]]) -> set[str]:
    """Return the names of the checks that have a result."""
    return {each["check"] for each in results}


def test_a_port_that_another_program_uses() -> None:
    """1: the port is taken; method: a listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, results = doctor("--port", str(taken.getsockname()[1]))
    assert code == 10
    assert "--listen" in wrong(results)["port"]


def test_a_port_of_another_broker(sound: tuple[BrokerProcess, Path]) -> None:
    """1: a broker of another id or cluster uses the port; method: the running broker."""
    address = sound[0].url.removeprefix("http://")
    for words in (("--node-id", "n2"), ("--cluster", "other")):
        code, results = doctor("--listen", address, *words)
        assert (code, set(wrong(results))) == (10, {"port"})


def test_a_redis_that_is_down() -> None:
    """2: nothing listens at the URL; method: a free port."""
    code, results = doctor("--redis", f"redis://127.0.0.1:{free_port()}/0")
    assert (code, set(wrong(results))) == (10, {"store-reach"})
    code, results = doctor("--redis", "redis://127.0.0.1:1/x")
    assert (code, set(wrong(results))) == (10, {"store-address"})


def test_a_redis_that_forgets(weak_redis: RedisServer) -> None:
    """3 and 4: no persistence, and an eviction policy; method: a server with these settings."""
    code, results = doctor("--redis", weak_redis.url)
    assert (code, set(wrong(results))) == (10, {"store-persistence", "store-eviction"})
    assert "appendonly yes" in wrong(results)["store-persistence"]
    assert "noeviction" in wrong(results)["store-eviction"]


def test_a_broker_of_another_cluster(sound: tuple[BrokerProcess, Path]) -> None:
    """5: another cluster answers at the address; method: expect another name."""
    broker, data = sound
    code, results = doctor("-b", broker.url, "--cluster", "other")
    assert (code, set(wrong(results))) == (10, {"cluster-name"})
    code, results = doctor("--data-dir", str(data), "--cluster", "other")
    assert (code, set(wrong(results))) == (10, {"cluster-name"})
    code, results = doctor("--data-dir", str(data), "--node-id", "n2")
    assert (code, set(wrong(results))) == (10, {"data"})


def test_data_of_another_store(sound: tuple[BrokerProcess, Path]) -> None:
    """5: the data folder belongs to another store; method: an empty store."""
    other = EmbeddedMetadata()
    try:
        code, results = doctor("--data-dir", str(sound[1]), "--redis", other.start())
    finally:
        other.stop()
    assert (code, set(wrong(results))) == (10, {"cluster-name"})


def test_a_clock_that_is_far_off(
    sound: tuple[BrokerProcess, Path], weak_redis: RedisServer
) -> None:
    """6: the clocks of broker and Redis; method: this machine's clock is moved for the command."""
    program = executable("faketime")
    url = ("-b", sound[0].url, "--redis", weak_redis.url)
    words = [program, "-f", "+1h", sys.executable, "-P", "-m", "yak_cli", "doctor", "--json"]
    env = {**CLEAN, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    done = subprocess.run(
        [*words, *url], cwd=ROOT, env=env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 10, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    clocks = [each for each in found if each["check"] == "clock"]
    assert [each["severity"] for each in clocks] == ["warning"] * 2
    assert all("3600 s" in each["problem"] or "3599 s" in each["problem"] for each in clocks)


@pytest.mark.parametrize(
    ("theirs", "severity"),
    [
        ((99.0, 100.0), Severity.OK),
        ((104.0, 105.0), Severity.OK),
        ((94.5, 95.5), Severity.OK),
        ((107.1, 108.1), Severity.WARNING),
        ((93.0, 94.0), Severity.WARNING),
    ],
)
def test_clocks_are_compared_within_what_is_known(
    theirs: tuple[float, float], severity: Severity
) -> None:
    """Goal: no alarm for what whole seconds explain; method: an answer between 100 and 102."""
    assert clock_result("n1", 100.0, 102.0, *theirs).severity is severity


def test_a_full_disk(tmp_path: Path) -> None:
    """7: the disk of the data folder takes no more bytes; method: a full file system."""
    with small_disk(tmp_path / "small") as small:
        open_storage(small / "n1", "n1").close()
        before = sorted(small.rglob("*"))
        with pytest.raises(OSError, match="space"):
            (small / "filler").write_bytes(bytes(2 << 20))
        for folder in (small / "n1", small, small / "new"):
            code, results = doctor("--data-dir", str(folder))
            assert (code, set(wrong(results))) == (10, {"disk"})
        (small / "filler").unlink()
        assert sorted(small.rglob("*")) == before


def test_a_folder_that_is_not_writable() -> None:
    """7: the same for a place that takes no file; method: a folder of the kernel."""
    code, results = doctor("--data-dir", "/proc/yak-data")
    assert (code, set(wrong(results))) == (10, {"disk"})


def test_an_advertised_address_that_cannot_be_reached(tmp_path: Path) -> None:
    """8: clients would be sent to an address where nothing answers; method: such a broker."""
    metadata = EmbeddedMetadata()
    try:
        with brokers() as start:
            advertised = f"http://{OTHER_HOST}:{free_port()}"
            broker = start(
                tmp_path / "log", "--listen", "127.0.0.1:0", "--redis", metadata.start(),
                "--data-dir", str(tmp_path / "data"), "--advertised-url", advertised,
            )  # fmt: skip
            address = f"127.0.0.1:{port_of(broker)}"
            code, results = doctor("-b", address)
    finally:
        metadata.stop()
    assert code == 10
    assert "YAK_ADVERTISED_URL" in wrong(results)["advertised"]
    assert advertised in [each["subject"] for each in results if each["check"] == "advertised"]


def port_of(broker: BrokerProcess) -> int:
    """Return the port that a broker listens on, whatever it advertises, once it is ready."""
    assert broker.url
    port = int(re.findall(r"port=(\d+)", broker.output)[-1])
    health = f"http://127.0.0.1:{port}/health"
    until(lambda: get(health)[1].get("ready"), "the broker is ready")
    return port


def test_brokers_that_do_not_answer(sound: tuple[BrokerProcess, Path]) -> None:
    """Goal: a given address without a broker is an error; method: none, and another program."""
    code, results = doctor("-b", f"127.0.0.1:{free_port()}")
    assert (code, set(wrong(results))) == (10, {"broker"})
    both = f"{sound[0].url},127.0.0.1:{free_port()}"
    assert set(wrong(doctor("-b", both)[1])) == {"broker"}


def test_text_and_invalid_options() -> None:
    """Goal: one line and the advice for a person, 2 for usage; method: a taken port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = yak("doctor", "--quiet", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 10
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("error")
    assert lines[1].strip().startswith("->")
    assert yak("doctor", "--listen", "nowhere").returncode == 2
    assert yak("doctor", "-b", "http://").returncode == 2
