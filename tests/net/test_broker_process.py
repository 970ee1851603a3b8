"""One broker process and its user: what it says and how it ends, whatever it is given."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.net.brokers import BrokerProcess, brokers, get, post, until
from yak_net.metadata.embedded import EmbeddedMetadata

Start: TypeAlias = Callable[..., BrokerProcess]
NOBODY = "redis://127.0.0.1:1/0"
"""A port that nobody listens to, and that needs rights to."""


@pytest.fixture
def metadata() -> Iterator[EmbeddedMetadata]:
    """A metadata server of this test's own."""
    server = EmbeddedMetadata()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start(metadata: EmbeddedMetadata, tmp_path: Path) -> Iterator[Start]:
    """Starts brokers with a free port and a data directory, unless the words say otherwise."""
    with brokers() as make:

        def begin(*words: str, log: str = "log") -> BrokerProcess:
            usual = {"--listen": "127.0.0.1:0", "--redis": metadata.url}
            usual["--data-dir"] = str(tmp_path / "data")
            given = [pair for pair in usual.items() if pair[0] not in words]
            return make(tmp_path / log, *chain.from_iterable(given), *words)

        yield begin


def refused(broker: BrokerProcess) -> str:
    """The one sentence of a broker that cannot be started so."""
    assert broker.ends() == 2, broker.said
    lines = [line for line in broker.said.splitlines() if line.startswith("yak broker: ")]
    assert len(lines) == 1, broker.said
    assert "Traceback" not in broker.said
    return lines[0]


def test_single_broker_serves_and_stops_cleanly(start: Start) -> None:
    """Goal: a broker by itself takes records, gives them back, and ends with 0 on SIGTERM."""
    broker = start()
    broker.serves()
    assert post(f"{broker.url}/produce", {"records": [{"value": "a"}, {"value": "b"}]})[0] == 200
    status, found = get(f"{broker.url}/fetch?offset=0")
    assert (status, [record["value"] for record in found["records"]]) == (200, ["a", "b"])
    broker.signal(signal.SIGTERM)
    assert broker.ends() == 0
    assert "clean=True" in broker.said
    again = start()
    again.serves()
    assert [record["value"] for record in get(f"{again.url}/fetch")[1]["records"]] == ["a", "b"]


def test_interrupt_while_starting_ends_it(start: Start) -> None:
    """Goal: Ctrl-C before anything is up. Method: a leader that waits for a follower for ever."""
    broker = start("--role", "leader", "--followers", "http://127.0.0.1:1")
    until(lambda: "waits for a follower" in broker.said, "it waits")
    assert broker.health()["status"] == "starting"
    broker.signal(signal.SIGINT)
    assert broker.ends() == 0, broker.said


def test_port_that_is_taken(start: Start, tmp_path: Path) -> None:
    """Goal: said in a sentence, before the data directory is touched."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        said = refused(start("--listen", f"127.0.0.1:{other.getsockname()[1]}"))
    assert "cannot listen on 127.0.0.1:" in said
    assert "--listen" in said
    assert not (tmp_path / "data").exists()


def test_data_directory_that_cannot_be_used(start: Start, tmp_path: Path) -> None:
    """Goal: a file in its place, somebody else's folder, another node's, another cluster's."""
    (tmp_path / "file").write_text("")
    assert "as data directory" in refused(start("--data-dir", str(tmp_path / "file"), log="1"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("dear")
    said = refused(start("--data-dir", str(tmp_path / "foreign"), log="2"))
    assert "not a data directory of YAK" in said
    assert (tmp_path / "foreign" / "letter.txt").read_text() == "dear"
    first = start(log="3")
    first.serves()
    said = refused(start(log="4"))
    assert f"in use by process {first.process.pid}" in said
    first.signal(signal.SIGTERM)
    assert first.ends() == 0
    assert "data directory of n1, not of n2" in refused(start("--node-id", "n2", log="5"))
    assert "belongs to cluster yak, not to other" in refused(start("--cluster", "other", log="6"))


def test_data_directory_that_nobody_may_write(start: Start) -> None:
    """Goal: a place where even root makes no folder is refused in a sentence."""
    assert "cannot use /proc/yak as data directory" in refused(start("--data-dir", "/proc/yak"))


def test_store_that_is_not_there_is_waited_for(start: Start, metadata: EmbeddedMetadata) -> None:
    """Goal: without the store a new broker serves nothing and says why; with it, it begins."""
    metadata.down()
    broker = start()
    until(lambda: "metadata store" in broker.said, "it says why")
    assert metadata.url.removesuffix("/0").removeprefix("redis://") in broker.said
    status, said = get(f"{broker.url}/health")
    assert status == 503
    assert said["status"] != "ok"
    status, said = post(f"{broker.url}/v1/records", {"records": [{"value": "a"}]})
    assert (status, said["outcome"]) == (503, "not_written")
    metadata.up()
    broker.serves()


def test_emptied_store_halts_the_broker(start: Start, metadata: EmbeddedMetadata) -> None:
    """Goal: a store that lost what it had confirmed is noticed, at once and after a restart."""
    broker = start(log="1")
    broker.serves()
    assert post(f"{broker.url}/produce", {"records": [{"value": "a"}]})[0] == 200
    metadata.forget()
    assert broker.ends() == 1
    assert "halted: the metadata store was emptied" in broker.said
    again = start(log="2")
    assert again.ends() == 1
    assert "halted: the metadata store was emptied" in again.said


def test_damaged_log_is_noticed(start: Start, tmp_path: Path) -> None:
    """Goal: one flipped bit below the durable end makes the restart unclean, and is kept aside."""
    broker = start(log="1")
    broker.serves()
    for number in range(5):
        assert post(f"{broker.url}/produce", {"records": [{"value": f"v{number}"}]})[0] == 200
    broker.signal(signal.SIGTERM)
    assert broker.ends() == 0
    segment = tmp_path / "data" / f"{0:020d}.log"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    again = start(log="2")
    until(lambda: "Registered" in again.said or not again.up, "it registers")
    assert "intact=False" in again.said
    assert "clean=False" in again.said
    assert list((tmp_path / "data").glob("*.damaged"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--bogus",), "No such option"),
        (("--node-id", "a b"), "a node id is"),
        (("--cluster", "{x}"), "a cluster's name is"),
        (("--listen", "nowhere"), "no address to listen on"),
        (("--listen", "0.0.0.0:0"), "--insecure"),
        (("--brokers", "n2=127.0.0.1:1"), "n1 is not among the brokers"),
        (("--brokers", "n1"), "not of the form"),
        (("--brokers", "n1=ftp://x"), "no address of a broker"),
        (("--min-isr", "3"), "min-isr is 3"),
        (("--config", "lease=1"), "no setting 'lease'"),
        (("--config", "lease_us=1"), "the lease"),
        (("--redis", "http://x"), "redis"),
        (("--flush", "never"), "flush"),
    ],
)
def test_bad_option_is_refused_with_a_sentence(
    start: Start, words: tuple[str, ...], sentence: str
) -> None:
    """Goal: exit code 2 and a sentence that names what is wrong."""
    broker = start(*words)
    assert broker.ends() == 2
    assert sentence in broker.said
    assert "Traceback" not in broker.said


def test_port_zero_and_trace(start: Start, tmp_path: Path) -> None:
    """Goal: it says where it listens, signs its answers, and records from its first event on."""
    broker = start("--trace", str(tmp_path / "n1.jsonl"))
    broker.serves()
    broker.signal(signal.SIGTERM)
    assert broker.ends() == 0
    lines = (tmp_path / "n1.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["world"] == "net"
    assert "Started" in json.loads(lines[1])["ev"]
    assert "end" in json.loads(lines[-1])


def test_three_processes_with_the_seed_variables_form_a_cluster(
    start: Start, metadata: EmbeddedMetadata, tmp_path: Path
) -> None:
    """Goal: role, id, host, port, followers, Redis and data directory are all that is needed."""
    with brokers() as make:

        def seeded(node: str, role: str, followers: str = "") -> BrokerProcess:
            env = {
                "YAK_ROLE": role,
                "YAK_NODE_ID": node,
                "YAK_HOST": "127.0.0.1",
                "YAK_PORT": "0",
                "YAK_REDIS_URL": metadata.url,
                "YAK_DATA_DIR": str(tmp_path / node),
            }
            if followers:
                env["YAK_FOLLOWERS"] = followers
            return make(tmp_path / f"{node}.log", env=env)

        two, three = seeded("two", "follower"), seeded("three", "follower")
        assert two.health()["status"] in ("starting", "degraded")
        one = seeded("one", "leader", f"{two.url},{three.url}")
        for broker in (one, two, three):
            broker.serves()
        assert one.health()["role"] == "leader"
        until(
            lambda: get(f"{one.url}/v1/cluster")[1].get("isr") == ["one", "three", "two"],
            "all are in sync",
        )
        assert post(f"{one.url}/produce", {"records": [{"value": "seed"}]})[0] == 200
        until(
            lambda: get(f"{two.url}/v1/cluster")[1]["hw"] == 1, "a follower hears that it committed"
        )
        one.signal(signal.SIGKILL)
        until(lambda: get(f"{two.url}/v1/cluster")[1]["leader"] in ("two", "three"), "the next one")


def test_broker_of_another_cluster_is_refused(
    start: Start, metadata: EmbeddedMetadata, tmp_path: Path
) -> None:
    """Goal: a fourth broker that was started for a wrong cluster ends, and nothing has changed."""
    one = start(log="1")
    one.serves()
    before = get(f"{one.url}/v1/cluster")[1]
    fourth = start(
        "--node-id", "n4", "--cluster", "other", "--data-dir", str(tmp_path / "n4"),
        "--brokers", f"n1={one.url},n4=127.0.0.1:1", log="4",
    )  # fmt: skip
    said = refused(fourth)
    assert "is of cluster yak, and this broker was started for cluster other" in said
    assert get(f"{one.url}/v1/cluster")[1] == before


def test_stranger_of_the_right_cluster_is_refused(
    start: Start, metadata: EmbeddedMetadata, tmp_path: Path
) -> None:
    """Goal: a node that is no replica cannot register, and says so."""
    one = start(log="1")
    one.serves()
    stranger = start(
        "--node-id", "n4", "--data-dir", str(tmp_path / "n4"),
        "--brokers", f"n1={one.url},n4=127.0.0.1:1", log="4",
    )  # fmt: skip
    assert stranger.ends() == 1
    assert "halted: registration is not possible" in stranger.said
