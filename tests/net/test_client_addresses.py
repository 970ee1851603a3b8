"""Clients whose bootstrap server answers, but whose brokers advertise an address that fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.brokers import BrokerProcess, brokers, until
from tests.net.client_commands import one_broker, running, send, yak
from yak_net.client.consumer import Consumer
from yak_net.client.errors import Delivery, NoBrokersAvailable, RequestTimedOutError
from yak_net.client.links import Links
from yak_net.client.producer import Producer
from yak_net.metadata.embedded import EmbeddedMetadata

UNRESOLVABLE = "http://broker-0.invalid:9092"


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the listen address of a broker that advertises a name that does not exist."""
    folder = tmp_path_factory.mktemp("broker")
    metadata = EmbeddedMetadata()
    try:
        with brokers() as start:
            words = ["--listen", "127.0.0.1:0", "--redis", metadata.start()]
            words += ["--data-dir", str(folder / "data"), "--advertised-url", UNRESOLVABLE]
            broker = start(folder / "log", *words)
            assert broker.url == UNRESOLVABLE
            yield f"127.0.0.1:{port_of(broker)}"
    finally:
        metadata.stop()


def port_of(broker: BrokerProcess) -> int:
    """Return the port on which a broker listens."""
    until(lambda: " port=" in broker.output, "the broker listens")
    return int(broker.output.split(" port=")[1].split()[0])


@pytest.mark.parametrize("words", ["produce -m x", "consume -e"])
def test_command_names_the_address_that_fails(words: str, at: str) -> None:
    """Goal: exit code 1 with broker, address and cause, long before the delivery timeout."""
    done = yak(*words.split(), "-b", at, "--timeout", "1s")
    message = done.stderr.decode()
    assert (done.returncode, done.stdout, len(message.splitlines())) == (1, b"", 1)
    for part in ("n1", UNRESOLVABLE, "resolve", at, "--advertised-url"):
        assert part in message
    assert ("nothing was written" in message) == ("produce" in words)


@pytest.mark.parametrize("kind", [Producer, Consumer])
async def test_start_fails_and_nothing_is_written(
    kind: type[Producer] | type[Consumer], at: str
) -> None:
    """Goal: the same as an exception of start(), whose outcome is definite."""
    client = kind(at, bootstrap_timeout_ms=300)
    with pytest.raises(NoBrokersAvailable, match="--advertised-url") as failed:
        await client.start()
    assert failed.value.outcome is Delivery.NOT_WRITTEN
    assert f"n1 at {UNRESOLVABLE}" in str(failed.value)
    await client.stop()


def test_address_of_another_broker(tmp_path: Path) -> None:
    """Goal: the message says which broker answers at the address. Method: its port, a new id."""
    with one_broker(tmp_path) as other:
        metadata = EmbeddedMetadata()
        with brokers() as start:
            words = ["--listen", "127.0.0.1:0", "--redis", metadata.start(), "--node-id", "n7"]
            words += ["--data-dir", str(tmp_path / "d7"), "--advertised-url", other.url]
            port = port_of(start(tmp_path / "log7", *words))
            done = yak("produce", "-m", "x", "-b", f"127.0.0.1:{port}", "--timeout", "1s")
        metadata.stop()
    assert done.returncode == 1
    assert b"expected broker n7, found n1" in done.stderr


async def test_second_broker_is_used_if_the_first_one_does_not_answer(tmp_path: Path) -> None:
    """Goal: one address that works is enough. Method: a listener that never answers."""
    links = Links(lambda *_: None, lambda _: None, lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as silent, one_broker(tmp_path) as broker:
        links.urls = {
            "n0": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "n1": broker.url,
            "n2": "http://127.0.0.1:1",
        }
        assert not await links.reach(["n2"])
        assert "n2 at http://127.0.0.1:1: connection refused" in links.describe_failures()
        assert await links.reach(["n0", "n2", "n1"])
        assert await links.reach(["n1"])
        await links.close()


async def test_timeout_names_the_broker_that_cannot_be_reached(tmp_path: Path) -> None:
    """Goal: an address that fails later is named, too. Method: the broker ends after a record."""
    with one_broker(tmp_path) as broker:
        producer = Producer(broker.url, delivery_timeout_ms=800)
        consumer = Consumer(broker.url, auto_offset_reset=0, default_api_timeout_ms=700)
        async with producer, consumer:
            await producer.send_and_wait(b"first")
            broker.close()
            address = f"n1 at {broker.url}: connection refused"
            with pytest.raises(RequestTimedOutError) as failed:
                await producer.send_and_wait(b"second")
            assert address in str(failed.value)
            with pytest.raises((RequestTimedOutError, NoBrokersAvailable)) as late:
                await consumer.end_offset()
            assert broker.url in str(late.value)
            assert "refused" in str(late.value)


@pytest.mark.long
def test_consume_names_the_broker_at_its_timeout(tmp_path: Path) -> None:
    """Goal: exit code 124 with the cause. Method: the broker ends while the command waits."""
    with one_broker(tmp_path) as broker:
        send(broker.url, b"first")
        words = ("consume", "-b", broker.url, "--from-beginning", "--timeout", "5s")
        with running(*words) as process:
            assert process.stdout.readline() == b"first\n"
            broker.close()
            assert process.wait() == 124
            assert f"n1 at {broker.url}: connection refused" in process.stderr.read().decode()


@pytest.mark.parametrize(
    ("words", "advice", "other"),
    [
        ("produce -m x", "--bootstrap-servers", ""),
        ("consume -e", "--bootstrap-servers", ""),
        ("", "bootstrap_servers", "--"),
    ],
)
async def test_advice_is_for_the_reader(words: str, advice: str, other: str) -> None:
    """Goal: a command names its option, an exception the argument; both name the cause."""
    if words:
        done = yak(*words.split(), "-b", "127.0.0.1:1", "--timeout", "500ms")
        message = done.stderr.decode()
    else:
        with pytest.raises(NoBrokersAvailable) as failed:
            await Producer("127.0.0.1:1", bootstrap_timeout_ms=100).start()
        message = str(failed.value)
    assert advice in message
    assert "connection refused" in message
    assert not other or other not in message


def test_reachable_broker_is_not_disturbed(tmp_path: Path) -> None:
    """Goal: the check of the address opens no connection that is not used."""
    with one_broker(tmp_path) as broker:
        assert send(broker.url, b"x") == 0
        done = yak("consume", "-b", broker.url, "--from-beginning", "-e", "--json")
        assert [json.loads(line)["value"] for line in done.stdout.splitlines()] == ["x"]
