"""A producer and consumers through kill -9 of the leader: no record lost or reordered."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.brokers import BrokerProcess, brokers, get, until
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.errors import RequestTimedOutError
from yak_net.client.producer import Producer, Resolved, Sent
from yak_net.metadata.embedded import EmbeddedMetadata

QUICK = ("--config", "lease_us=1200000")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, BrokerProcess]]:
    """Yield three brokers in sync, configured by environment variables; ``one`` leads."""
    metadata = EmbeddedMetadata()
    try:
        url = metadata.start()
        with brokers() as start:

            def seeded(node: str, role: str, followers: str = "") -> BrokerProcess:
                env = {"YAK_ROLE": role, "YAK_NODE_ID": node, "YAK_REDIS_URL": url}
                env |= {"YAK_HOST": "127.0.0.1", "YAK_PORT": "0", "YAK_FOLLOWERS": followers}
                env |= {"YAK_DATA_DIR": str(tmp_path / node)}
                return start(tmp_path / f"{node}.log", *QUICK, env=env)

            found = {node: seeded(node, "follower") for node in ("two", "three")}
            followers = ",".join(broker.url for broker in found.values())
            found["one"] = one = seeded("one", "leader", followers)
            for broker in found.values():
                broker.wait_until_ready()
            until(lambda: len(get(f"{one.url}/v1/cluster")[1].get("isr", ())) == 3, "all in sync")
            yield found
    finally:
        metadata.stop()


async def test_failover_during_sends(cluster: dict[str, BrokerProcess]) -> None:
    """Goal: sends continue through a failover; each record is confirmed at its own offset.

    Consumers started before and after the failover read all records in order.
    """
    servers = [broker.url for broker in cluster.values()]
    resolved: list[Resolved] = []

    async def scenario() -> None:
        numbers = iter(range(1_000_000))
        stop = asyncio.Event()
        sent: list[Sent] = []
        async with (
            Producer(servers, on_batch=resolved.append) as producer,
            Consumer(servers, auto_offset_reset="earliest") as follower,
        ):

            async def send() -> None:
                while not stop.is_set():
                    sent.append(await producer.send(b"%d" % next(numbers)))
                    await asyncio.sleep(0.0005)

            sending = asyncio.create_task(send())

            async def epoch_beyond(epoch: int) -> int:
                while not resolved or resolved[-1].leader_epoch <= epoch:
                    await asyncio.sleep(0.01)
                return resolved[-1].leader_epoch

            first = await epoch_beyond(0)
            cluster["one"].signal(signal.SIGKILL)
            await epoch_beyond(first)
            end_after = await follower.end_offset()
            stop.set()
            await sending
            await producer.flush()
            assert [(await record).offset for record in sent] == list(range(len(sent)))
            assert (producer.confirmed, producer.unresolved) == (len(sent), 0)
            assert sum(b.count for b in resolved if b.leader_epoch == first) <= end_after
            got: list[ConsumerRecord] = []
            while len(got) < len(sent):
                got += await follower.getmany(timeout_ms=10_000)
            check(got, len(sent))
            assert len({record.leader_epoch for record in got}) == 2
        async with Consumer(servers[:2], auto_offset_reset="earliest") as late:
            assert await late.end_offset() == len(sent)
            again = [await anext(late) for _ in range(len(sent))]
        assert again == got

    await scenario()


async def test_too_few_replicas_are_the_reason_of_a_timeout(
    cluster: dict[str, BrokerProcess],
) -> None:
    """Goal: the cause with its values. Method: kill two of three; send when the ISR has shrunk.

    It shrinks when the two lack a record.
    """
    for node in ("two", "three"):
        cluster[node].signal(signal.SIGKILL)
    url = cluster["one"].url
    async with Producer([url], acks=1) as producer:
        await producer.send_and_wait(b"only here")
    await asyncio.to_thread(
        until, lambda: get(f"{url}/v1/cluster")[1].get("isr") == ["one"], "the ISR has shrunk"
    )
    async with Producer([url], delivery_timeout_ms=1_500) as producer:
        with pytest.raises(RequestTimedOutError) as caught:
            await producer.send_and_wait(b"a")
    what = str(caught.value).partition("; ")[0]
    assert "NOT_ENOUGH_REPLICAS" in what
    assert re.findall(r"\d+", what)[:2] == ["1", "2"]  # then the addresses that do not answer


def check(records: list[ConsumerRecord], count: int) -> None:
    """Check that each number is there once, in order, at its own offset."""
    assert [record.value for record in records] == [b"%d" % number for number in range(count)]
    assert [record.offset for record in records] == list(range(count))
