"""One broker process: its output and its exit code, for valid and invalid options."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner

from tests.net.brokers import BrokerProcess, brokers, get, post, until
from tests.require import missing
from yak_net import Producer, cli
from yak_net.metadata.embedded import EmbeddedMetadata

Start: TypeAlias = Callable[..., BrokerProcess]


@pytest.fixture
def start(metadata: EmbeddedMetadata, tmp_path: Path) -> Iterator[Start]:
    """Start brokers with a free port and a data directory by default."""
    with brokers() as make:

        def begin(*words: str, log: str = "log", **how: Any) -> BrokerProcess:
            usual = {"--listen": "127.0.0.1:0", "--redis": metadata.url}
            usual["--data-dir"] = str(tmp_path / "data")
            given = [pair for pair in usual.items() if pair[0] not in words]
            return make(tmp_path / log, *chain.from_iterable(given), *words, **how)

        yield begin


def refused(broker: BrokerProcess) -> str:
    """Wait for exit code 2; return the one error line."""
    assert broker.wait_for_end() == 2, broker.output
    lines = [line for line in broker.output.splitlines() if line.startswith("yak broker: ")]
    assert len(lines) == 1, broker.output
    assert "Traceback" not in broker.output
    return lines[0]


def test_single_broker_is_ready_and_stops_cleanly(start: Start) -> None:
    """Goal: a single broker takes and returns records, and exits with 0 on SIGTERM."""
    broker = start(fresh=True)
    broker.wait_until_ready()
    assert post(f"{broker.url}/produce", {"records": [{"value": "a"}, {"value": "b"}]})[0] == 200
    status, found = get(f"{broker.url}/fetch?offset=0")
    assert (status, [record["value"] for record in found["records"]]) == (200, ["a", "b"])
    broker.signal(signal.SIGTERM)
    assert broker.wait_for_end() == 0
    assert "clean=True" in broker.output
    again = start()
    again.wait_until_ready()
    assert [record["value"] for record in get(f"{again.url}/fetch")[1]["records"]] == ["a", "b"]


def test_interrupt_while_starting_ends_it(start: Start) -> None:
    """Goal: Ctrl-C ends a start. Method: a leader that waits for a follower."""
    broker = start("--role", "leader", "--followers", "http://127.0.0.1:1")
    until(lambda: "waiting for follower" in broker.output, "waiting")
    assert broker.health()["status"] == "starting"
    broker.signal(signal.SIGINT)
    assert broker.wait_for_end() == 0, broker.output


def test_port_that_is_taken(start: Start, tmp_path: Path) -> None:
    """Goal: one line on standard error, before the data directory is touched."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        message = refused(start("--listen", f"127.0.0.1:{other.getsockname()[1]}"))
    assert "127.0.0.1:" in message
    assert os.strerror(errno.EADDRINUSE).lower() in message.lower()
    assert "--listen" in message
    assert not (tmp_path / "data").exists()


def test_data_directory_in_use(start: Start) -> None:
    """Goal: a second process is refused with one line, and the first keeps running."""
    first = start(log="1")
    first.wait_until_ready()
    assert re.search(rf"\b{first.process.pid}\b", refused(start(log="2")))
    assert first.health()["status"] == "ok"


def test_broker_waits_for_an_absent_store(start: Start, metadata: EmbeddedMetadata) -> None:
    """Goal: a new broker is ready only when the store responds; before, it reports the reason."""
    metadata.down()
    broker = start()
    until(lambda: "metadata store" in broker.output, "the reason")
    assert metadata.url.removesuffix("/0").removeprefix("redis://") in broker.output
    status, message = get(f"{broker.url}/health")
    assert status == 503
    assert message["status"] != "ok"
    status, message = post(f"{broker.url}/v1/records", {"records": [{"value": "a"}]})
    assert (status, message["outcome"]) == (503, "not_written")
    metadata.up()
    broker.wait_until_ready()


def test_emptied_store_halts_the_broker(start: Start, metadata: EmbeddedMetadata) -> None:
    """Goal: a store that lost confirmed writes halts the broker, at once and after a restart."""
    broker = start(log="1")
    broker.wait_until_ready()
    assert post(f"{broker.url}/produce", {"records": [{"value": "a"}]})[0] == 200
    metadata.delete_all()
    assert broker.wait_for_end() == 1
    assert re.search("halted: .*store.*emptied", broker.output)
    again = start(log="2")
    assert again.wait_for_end() == 1
    assert re.search("halted: .*store.*emptied", again.output)


def test_damaged_log_makes_the_start_unclean(start: Start, tmp_path: Path) -> None:
    """Goal: a flipped bit below the durable end makes the restart unclean; the tail is kept."""
    broker = start(log="1")
    broker.wait_until_ready()
    for number in range(5):
        assert post(f"{broker.url}/produce", {"records": [{"value": f"v{number}"}]})[0] == 200
    broker.signal(signal.SIGTERM)
    assert broker.wait_for_end() == 0
    segment = tmp_path / "data" / f"{0:020d}.log"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    again = start(log="2")
    until(lambda: "Registered" in again.output or not again.up, "the registration")
    assert "intact=False" in again.output
    assert "clean=False" in again.output
    assert list((tmp_path / "data").glob("*.damaged"))


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        ("--bogus", "--bogus"),
        ("--node-id a/b", "a/b"),
        ("--cluster {x}", "{x}"),
        ("--listen nowhere", "nowhere"),
        ("--listen 0.0.0.0:0", "--insecure"),
        ("--brokers n2=127.0.0.1:1", "n1"),
        ("--brokers n1", "n1"),
        ("--brokers n1=ftp://x", "ftp://x"),
        ("--min-isr 3", "min-isr"),
        ("--config lease=1", "'lease'"),
        ("--config lease_us=1", "lease"),
        ("--flush never", "--flush"),
    ],
)
def test_bad_option_is_refused(words: str, noun: str) -> None:
    """Goal: exit code 2 before any file is touched, and the message names the option."""
    done = CliRunner().invoke(cli.broker, words.split())
    assert (done.exit_code, done.stdout, noun in done.stderr) == (2, "", True)


def test_bad_address_of_the_store_is_refused(start: Start) -> None:
    """Goal: exit code 2 also for an error found after parsing."""
    assert "redis" in refused(start("--redis", "http://x"))


def test_failed_listen_gives_the_advice_that_fits(start: Start) -> None:
    """Goal: only for a port in use the message advises to free it; each names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = f"127.0.0.1:{taken.getsockname()[1]}"
        message = refused(start("--listen", in_use, log="used"))
        assert (in_use in message, "stop the process" in message) == (True, True)
    words = ("--insecure", "--advertised-url", "h:1", "--listen")
    for host, cause in (("no-host.invalid", "cannot resolve"), ("192.0.2.1", "assign")):
        message = refused(start(*words, f"{host}:0", log=host))
        assert (f"{host}:0" in message, cause in message) == (True, True)
        assert ("--host" in message, "stop the process" in message) == (True, False)


def test_port_zero_and_trace(start: Start, tmp_path: Path) -> None:
    """Goal: the URL is logged, responses have the headers, the trace has the first event."""
    broker = start("--trace", str(tmp_path / "n1.jsonl"))
    broker.wait_until_ready()
    broker.signal(signal.SIGTERM)
    assert broker.wait_for_end() == 0
    lines = (tmp_path / "n1.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["world"] == "net"
    assert "Started" in json.loads(lines[1])["ev"]
    assert "end" in json.loads(lines[-1])


def test_brokers_outside_the_cluster_are_refused(start: Start, tmp_path: Path) -> None:
    """Goal: a broker of another cluster and one that is not a replica exit; nothing changes."""
    one = start(log="1")
    one.wait_until_ready()
    before = get(f"{one.url}/v1/cluster")[1]
    words = ("--node-id", "n4", "--brokers", f"n1={one.url},n4=127.0.0.1:1")
    other = ("--cluster", "other", "--data-dir", str(tmp_path / "d4"))
    message = refused(start(*words, *other, log="4"))
    assert "cluster yak" in message
    assert "cluster other" in message
    stranger = start(*words, "--data-dir", str(tmp_path / "d5"), log="5")
    assert stranger.wait_for_end() == 1
    assert re.search(r"halted: .*\bn4\b", stranger.output)
    assert get(f"{one.url}/v1/cluster")[1] == before


def test_broker_on_an_ipv6_address(start: Start) -> None:
    """Goal: [::1] as address, URL and Host; a client reaches it; a foreign name does not."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        missing("ipv6", f"no loopback address ::1: {error.strerror}")
    broker = start("--listen", "[::1]:0")
    broker.wait_until_ready()
    assert broker.url.startswith("http://[::1]:")
    assert post(f"{broker.url}/produce", {"records": [{"value": "a"}]})[0] == 200

    async def send() -> int:
        async with Producer(broker.url) as producer:
            return (await producer.send_and_wait(b"b")).offset

    assert asyncio.run(send()) == 1
    for host, status in (("[::1]", 200), ("localhost", 200), ("evil.example", 421)):
        request = urllib.request.Request(f"{broker.url}/fetch", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.status == status
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == status


@pytest.mark.parametrize("host", ["proxy.example", "PROXY.example:443"])
def test_further_names_of_a_broker(start: Start, host: str) -> None:
    """Goal: --allow-host, also as a variable, gives a broker the name of a proxy."""
    broker = start(env={"YAK_ALLOW_HOST": "other.example proxy.example"})
    broker.wait_until_ready()
    request = urllib.request.Request(f"{broker.url}/fetch", headers={"Host": host})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def test_too_few_open_files_are_refused(start: Start) -> None:
    """Goal: exit code 2 and the limit, before the data directory is touched."""
    before = ("sh", "-c", 'ulimit -n 100 && exec "$@"', "sh")
    message = refused(start(fresh=True, before=before))
    assert "100" in message
    assert "ulimit -n" in message
