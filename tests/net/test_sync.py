"""SyncProducer and SyncConsumer: results, errors and threads.

Method: a real broker where records are read back, else a runtime that refuses chosen records.
"""

from __future__ import annotations

import gc
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.net.brokers import until
from tests.net.client_commands import one_broker, send, values
from tests.net.sync_tools import Answering
from yak_net import (
    Consumer,
    Delivery,
    IllegalStateError,
    MessageSizeTooLargeError,
    NoBrokersAvailable,
    NotEnoughReplicasError,
    Producer,
    SyncConsumer,
    SyncProducer,
)
from yak_net.client.sync_consumer import ConsumerOptions
from yak_net.client.sync_producer import ProducerOptions

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker that the tests of this file share."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Each client ends its thread."""
    yield
    gc.collect()
    until(lambda: not client_threads(), f"threads are left: {client_threads()}")


def client_threads() -> list[str]:
    """Return the names of the running threads of clients."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name in ("yak-producer", "yak-consumer")]


def refusing(**options: Any) -> SyncProducer:
    """Return a producer of single-record batches; records with ``bad`` are refused."""
    return SyncProducer("h:1", runtime=Answering, linger_ms=0, **options)


@pytest.mark.parametrize(
    ("client", "facade", "options"),
    [(Producer, SyncProducer, ProducerOptions), (Consumer, SyncConsumer, ConsumerOptions)],
)
def test_the_options_and_methods_are_those_of_the_client(
    client: type, facade: type, options: type
) -> None:
    """Goal: code moves between the two by its ``await``. Method: compare the signatures."""
    words = inspect.signature(client).parameters
    wanted = {name: each.annotation for name, each in words.items()}
    del wanted["bootstrap_servers"]
    found = inspect.get_annotations(options)
    assert wanted == {name: reference.__forward_arg__ for name, reference in found.items()}
    for name, method in vars(client).items():
        if not name.startswith("_") and name not in ("start", "stop") and callable(method):
            ours = list(inspect.signature(getattr(facade, name)).parameters)
            given = list(inspect.signature(method).parameters)
            assert ours == given + ["timeout_ms"] * (name == "flush")


def test_records_go_there_and_back(at: str) -> None:
    """Goal: the whole API works without an event loop."""
    with SyncProducer(at) as producer:
        first = producer.send_and_wait(b"a", key=b"k", headers=(("h", b"1"),)).offset
        handle = producer.send(None)
        producer.flush()
        assert (handle.done(), handle.outcome) == (True, Delivery.WRITTEN)
        assert handle.result(timeout_ms=1).offset == first + 1
        assert (producer.confirmed, producer.unresolved) == (2, 0)
    with SyncConsumer(at, auto_offset_reset=first) as consumer:
        record = next(consumer)
        assert (record.offset, record.key, record.headers) == (first, b"k", (("h", b"1"),))
        assert consumer.getmany(timeout_ms=20_000)[0].value is None
        assert consumer.getmany(timeout_ms=1) == []
        assert (consumer.position(), consumer.highwater()) == (first + 2, first + 2)
        consumer.seek(first)
        assert consumer.getone() == record
        consumer.seek_to_end()
        assert consumer.position() == consumer.end_offset() == first + 2
        consumer.seek_to_beginning()
        assert consumer.position() == consumer.beginning_offset() == 0


def test_threads_share_a_producer(at: str) -> None:
    """Goal: the records of each thread are in the log in the order of its calls."""
    first = send(at, b"begin") + 1
    with SyncProducer(at) as producer:

        def work(name: int) -> None:
            for number in range(50):
                producer.send(b"%d %d" % (name, number))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [(value or b"").split() for value in values(at, first, 200)]
    for name in range(4):
        assert [int(n) for who, n in found if int(who) == name] == list(range(50))


def test_threads_share_a_consumer(at: str) -> None:
    """Goal: each record goes to one thread, and closing the consumer ends the iterations."""
    first = send(at, *[b"%d" % number for number in range(300)])
    consumer = SyncConsumer(at, auto_offset_reset=first)
    found: list[int] = []

    def work() -> None:
        found.extend(record.offset for record in consumer)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: consumer.position() == first + 300, "all records are read")
    consumer.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(found) == list(range(first, first + 300))


def test_a_failure_is_raised_once(at: str) -> None:
    """Goal: flush and close raise an error that the application has not seen, and no other."""
    producer = refusing()
    producer.send(b"good")
    seen = producer.send(b"bad 1")
    with pytest.raises(NotEnoughReplicasError) as raised:
        seen.result()
    assert raised.value.outcome is Delivery.NOT_WRITTEN
    producer.flush()
    producer.send(b"bad 2")
    with pytest.raises(NotEnoughReplicasError):
        producer.flush()
    producer.flush()
    producer.send(b"bad 3")
    with pytest.raises(NotEnoughReplicasError):
        producer.close()
    producer.close()
    assert (producer.confirmed, producer.not_written, producer.unknown) == (1, 3, 0)


def test_a_failure_does_not_hide_another_exception() -> None:
    """Goal: the exception of the block is raised, and the lost record is a warning."""

    def work() -> None:
        with refusing() as producer:
            producer.send(b"bad")
            raise ZeroDivisionError

    with pytest.warns(RuntimeWarning, match="1 not_written"), pytest.raises(ZeroDivisionError):
        work()


def test_time_limits() -> None:
    """Goal: a limit ends the wait, not the record; after close the outcome is known."""
    producer = refusing()
    handle = producer.send(b"never")
    with pytest.raises(TimeoutError):
        handle.result(timeout_ms=1)
    with pytest.raises(TimeoutError):
        producer.flush(timeout_ms=1)
    assert not handle.done()
    with pytest.raises(Exception, match="unknown") as raised:
        producer.close(timeout_ms=1)
    assert getattr(raised.value, "outcome", None) is Delivery.UNKNOWN
    with pytest.raises(type(raised.value)):
        handle.result()


def test_invalid_use_is_refused() -> None:
    """Goal: errors come at once, from the call that is wrong, and leave no thread."""
    with pytest.raises(ValueError, match="acks"):
        SyncProducer("h:1", acks=7)
    with pytest.raises(TypeError):
        SyncProducer("h:1", no_such_option=1)  # type: ignore[call-arg]
    for kind in (SyncProducer, SyncConsumer):
        with pytest.raises(NoBrokersAvailable):
            kind("127.0.0.1:1", bootstrap_timeout_ms=1)
    with refusing(max_request_size=200, max_batch_size=200) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            producer.send(b"x" * 500)
        with pytest.raises(TypeError):
            producer.send("text")  # type: ignore[arg-type]
        assert producer.send_and_wait(b"good").offset == 0
    with pytest.raises(IllegalStateError):
        producer.send(b"late")


def test_a_callback_must_not_wait_for_its_own_thread() -> None:
    """Goal: an error instead of a deadlock, for each blocking call."""
    errors: list[str] = []

    def on_batch(_: object) -> None:
        for call in (lambda: producer.send(b"x"), producer.flush, producer.close):
            try:
                call()
            except IllegalStateError as error:
                errors.append(error.name)

    with refusing(on_batch=on_batch) as producer:
        producer.send_and_wait(b"good")
    assert errors == ["ILLEGAL_STATE"] * 3


def test_a_dropped_client_warns_and_delivers(at: str) -> None:
    """Goal: records that were accepted are sent although the producer is garbage."""
    before = send(at, b"begin")
    producers = [SyncProducer(at, linger_ms=1_000)]
    producers[0].send(b"dropped")
    with pytest.warns(ResourceWarning, match="SyncProducer"):
        producers.clear()
    with SyncConsumer(at, auto_offset_reset=before + 1) as consumer:
        assert consumer.getone().value == b"dropped"
    consumers = [SyncConsumer(at)]
    with pytest.warns(ResourceWarning, match="SyncConsumer"):
        consumers.clear()


def test_a_client_that_was_never_started_warns() -> None:
    """Goal: the warning names the class for programs without a loop. Method: drop one."""
    clients = [Consumer("127.0.0.1:1")]
    with pytest.warns(RuntimeWarning, match="SyncConsumer"):
        clients.clear()
