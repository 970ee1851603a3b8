"""SyncProducer and SyncConsumer in whole programs: their end, fork, Ctrl-C.

Method: programs as processes, with a real broker, or with a runtime that refuses chosen records.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.brokers import CLEAN, ROOT, until
from tests.net.client_commands import one_broker, send, values

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a broker that the tests of this file share."""
    with one_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


def program(text: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], env={**CLEAN, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("thread", [False, True])
def test_the_end_of_a_program_flushes(at: str, thread: bool) -> None:
    """Goal: a program that sends and ends has delivered; the main thread may end first."""
    before = send(at, b"begin")
    start = "threading.Thread(target=work).start()" if thread else "work()"
    done = program(f"""
        import threading
        from yak_net import SyncProducer
        producer = SyncProducer({at!r})

        def work():
            for number in range(20):
                producer.send(b"%d" % number)

        {start}
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert values(at, before + 1, 20) == [b"%d" % number for number in range(20)]


def test_the_end_of_a_program_names_what_failed() -> None:
    """Goal: records that fail in the last flush are on standard error, by default."""
    done = program("""
        from tests.net.sync_tools import Answering
        from yak_net import SyncProducer
        producer = SyncProducer("h:1", runtime=Answering)
        producer.send(b"bad")
    """)
    assert "RuntimeWarning" in done.stderr
    assert "1 not_written" in done.stderr


def test_a_fork_cannot_use_the_clients_of_its_parent(at: str) -> None:
    """Goal: an error in the child, which ends cleanly; the parent goes on, and a new one works."""
    before = send(at, b"begin")
    done = program(f"""
        import os, sys, warnings
        from yak_net import IllegalStateError, SyncConsumer, SyncProducer
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads, Python 3.12
        producer, consumer = SyncProducer({at!r}), SyncConsumer({at!r})
        handle = producer.send(b"parent 1")
        child = os.fork()
        if child == 0:
            calls = [producer.flush, consumer.getone, lambda: producer.send(b"x")]
            for call in calls:
                try:
                    call()
                except IllegalStateError as error:
                    assert str(os.getppid()) in str(error)
                else:
                    sys.exit(3)
            producer.close()
            consumer.close()
            del producer, consumer
            with SyncProducer({at!r}) as own:
                own.send_and_wait(b"child")
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        handle.result()
        producer.send_and_wait(b"parent 2")
        producer.close()
        consumer.close()
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(at, before + 1, 3) == [b"parent 1", b"child", b"parent 2"]


def test_interrupts_lose_no_record(at: str) -> None:
    """Goal: after Ctrl-C in a blocking read, the next read returns the same record.

    Method: an alarm every few milliseconds that interrupts only the wait of a call, as the
    exception of a signal handler does. A fast machine reads all records before the fourth alarm
    meets a wait; the calls after the last record wait for ever, so the alarms always meet these.
    """
    count = 400
    first = send(at, *[b"%d" % number for number in range(count)])
    done = program(f"""
        import signal
        from yak_net import SyncConsumer

        class Interrupted(BaseException):
            pass

        def on_alarm(number, frame):
            if frame.f_code.co_name == "wait":
                raise Interrupted

        signal.signal(signal.SIGALRM, on_alarm)
        found, interrupts = [], 0
        with SyncConsumer({at!r}, auto_offset_reset={first}) as consumer:
            signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
            while len(found) < {count} or interrupts < 4:
                try:
                    found += [consumer.getone()] if len(found) % 2 else consumer.getmany(100, 3)
                except Interrupted:
                    interrupts += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert [r.offset for r in found] == list(range({first}, {first} + {count}))
    """)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("call", ["consumer.getone()", "producer.send(b'never').result()"])
def test_ctrl_c_ends_a_blocked_program(at: str, call: str) -> None:
    """Goal: one Ctrl-C ends the call with KeyboardInterrupt, and the program ends with 130."""
    text = f"""
        import contextlib
        from tests.net.sync_tools import Answering
        from yak_net import SyncConsumer, SyncProducer, YakError
        producer = SyncProducer("h:1", runtime=Answering, linger_ms=0)
        with SyncConsumer({at!r}) as consumer:
            try:
                print("ready", flush=True)
                {call}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                with contextlib.suppress(YakError):
                    producer.close(timeout_ms=0)
                raise SystemExit(130) from None
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], env={**CLEAN, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until(lambda: is_blocked(process.pid), "the call blocks")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        _, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, err) == (130, "")
    finally:
        process.kill()
        process.communicate()


def is_blocked(pid: int) -> bool:
    """Return whether the main thread sleeps in the kernel."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_a_client_without_a_loop_warns() -> None:
    """Goal: the first mistake, a Producer without await, is loud and names the other class."""
    done = program("""
        from yak_net import Producer
        p = Producer("127.0.0.1:1")
        p.send(b"x")
        p.flush()
    """)
    assert "SyncProducer" in done.stderr
    assert "RuntimeWarning" in done.stderr
