"""Golden commands that start and stop nodes and make client requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.golden.golden_args import Args
from tests.golden.golden_moves import await_record
from tests.golden.golden_stage import Stage
from yak_core.batch import Batch, Builder
from yak_core.broker.node import build_broker
from yak_core.clients.consumer import build_consumer
from yak_core.clients.producer import build_producer, build_producer_on_connections
from yak_core.config import BrokerConfig, ConsumerConfig, ProducerConfig, flush_mode
from yak_core.contract.client_calls import Poll, Seek, SendBatch
from yak_core.contract.messages import FetchRequest, ListOffsetsRequest, ProduceRequest
from yak_core.ids import Epoch
from yak_core.manual.run import advance, settle
from yak_core.model.disk import DiskImage

ACKS: Final = {"all": -1, "1": 1, "0": 0}

# Starts and stops.


def cluster(stage: Stage, args: Args) -> None:
    """``cluster 3``: start n1 to n3; n1 leads epoch 1, all are in the ISR, nothing is pending."""
    word = args.next("the number of brokers")
    if word not in tuple("123456789"):
        raise args.error(f"a cluster has 1 to 9 brokers, not {word}")
    min_isr, flush = args.number("min_isr", 2), flush_mode(args.option("flush", "batch"))
    batch_bytes_max = args.number("batch_max", 1 << 20)
    producers_max = args.number("producers_max", 10_000)
    args.finish()
    names = tuple(f"n{i}" for i in range(1, int(word) + 1))
    config = BrokerConfig(
        names, min_isr, flush, batch_bytes_max=batch_bytes_max, producers_max=producers_max
    )
    for name in names:
        stage.world.add(name, config, build_broker(stage.rules))
        stage.world.start(name)
        settle(stage.world)
    await_record(stage, args, "isr", ",".join(names))
    # A few more heartbeats and lease renewals: every node has the partition state.
    advance(stage.world, 1_000_000)


def start(stage: Stage, args: Args) -> None:
    """``start n1 [flush=batch]``: start the node on its disk."""
    node = args.next("the node")
    config = stage.world.backend(node).config
    if isinstance(config, BrokerConfig):
        stage.world.backend(node).config = replace(
            config, flush=flush_mode(args.option("flush", config.flush))
        )
    args.finish()
    stage.world.start(node)


def crash(stage: Stage, args: Args) -> None:
    """``crash n1 [keep=K] [after=E]``: lose memory and all unflushed batches but K.

    With ``after``, the node crashes after E more effects, within a step.
    """
    node, keep, after = args.next("the node"), args.number("keep", 0), args.number("after", -1)
    args.finish()
    if after >= 0:
        stage.world.crash_within(node, after, keep)
        return
    stage.world.crash(node, keep)
    stage.say(stage.status(node))


def kill(stage: Stage, args: Args) -> None:
    """``kill n1``: end the process; its disk keeps all that was written."""
    node = args.next("the node")
    args.finish()
    stage.world.kill(node)
    stage.say(stage.status(node))


def stop(stage: Stage, args: Args) -> None:
    """``stop n1``: ask the node for a clean stop."""
    node = args.next("the node")
    args.finish()
    stage.world.request_stop(node, 10_000_000)


def damage(stage: Stage, args: Args) -> None:
    """``damage n1``: damage flushed bytes on the disk of a stopped node."""
    node = args.next("the node")
    args.finish()
    stage.world.nodes[node].disk.image.intact = False


def wipe(stage: Stage, args: Args) -> None:
    """``wipe n1``: empty the disk of a stopped node."""
    node = args.next("the node")
    args.finish()
    disk = stage.world.nodes[node].disk
    disk.image, disk.tail = DiskImage(), DiskImage()


# Clients.


def produce(stage: Stage, args: Args) -> None:
    """``produce n1 a b+c [acks=all] [pid=7] [seq=S] [pepoch=P]``: one request for each word.

    ``b+c`` is one batch of two records. With ``pid`` the batch is idempotent; its sequence follows
    the previous one unless it is given.
    """
    node, acks = args.next("the broker"), args.choice("acks", "all", ACKS)
    epoch = args.number("epoch", -1)
    pid, pepoch, seq = args.number("pid", -1), args.number("pepoch", 0), args.number("seq", -1)
    words = args.rest()
    args.finish()
    for word in words:
        batch = build(word)
        if pid >= 0:
            known = stage.sequences.get((pid, pepoch), 0)
            first = known if seq < 0 else seq
            stage.sequences[pid, pepoch] = max(known, first + batch.count)
            batch = replace(batch, producer_id=pid, producer_epoch=pepoch, base_sequence=first)
        stage.world.call(node, ProduceRequest(0, Epoch(epoch), acks, 30_000_000, batch))


def fetch(stage: Stage, args: Args) -> None:
    """``fetch n1 at=0 [last_epoch=E] [epoch=E] [wait=1s]``: read from an offset."""
    node, at = args.next("the broker"), args.number("at", 0)
    last_epoch, epoch = args.number("last_epoch", -1), args.number("epoch", -1)
    wait = args.duration(args.option("wait", "0s"))
    args.finish()
    stage.world.call(node, FetchRequest(0, at, Epoch(last_epoch), Epoch(epoch), 1 << 20, wait))


def offsets(stage: Stage, args: Args) -> None:
    """``offsets n1 latest|earliest``: look up an offset."""
    node, which = args.next("the broker"), args.next("latest or earliest")
    args.finish()
    stage.world.call(node, ListOffsetsRequest(0, {"latest": -1, "earliest": -2}[which]))


def client(stage: Stage, args: Args) -> None:
    """``client p1 [acks=all] [once=1]`` or ``client c1 [at=0]``: start a client node.

    With ``once``, the world promises that it makes no copies of the producer's requests.
    """
    build = build_producer_on_connections if args.number("once", 0) else build_producer
    name, acks, at = args.next("its name"), args.choice("acks", "all", ACKS), args.number("at", 0)
    args.finish()
    brokers = tuple(node for node in stage.world.nodes if node.startswith("n"))
    if name.startswith("p"):
        stage.world.add(name, ProducerConfig(brokers, acks=acks), build)
    else:
        stage.world.add(name, ConsumerConfig(brokers, start_offset=at), build_consumer)
    stage.world.start(name)


def send(stage: Stage, args: Args) -> None:
    """``send p1 a b+c``: give a producer node batches to deliver."""
    name, words = args.next("the producer"), args.rest()
    args.finish()
    for word in words:
        stage.world.call(name, SendBatch(build(word)))


def poll(stage: Stage, args: Args) -> None:
    """``poll c1``: ask a consumer node for the next records."""
    name = args.next("the consumer")
    args.finish()
    stage.world.call(name, Poll())


def seek(stage: Stage, args: Args) -> None:
    """``seek c1 at=3``: move a consumer node's position."""
    name, at = args.next("the consumer"), args.number("at", 0)
    args.finish()
    stage.world.call(name, Seek(at))


def build(word: str) -> Batch:
    """Build a batch with a record for each part of ``a+b``."""
    builder = Builder()
    for value in word.split("+"):
        builder.append(value.encode(), timestamp_ms=0)
    return builder.build()
