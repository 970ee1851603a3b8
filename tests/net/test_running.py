"""Ctrl-C ends a command's coroutine cleanly at any time."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading

import pytest

from yak_net.runtime.interruptible import run
from yak_net.runtime.quick_import import CERT_FILE, quick_import
from yak_net.runtime.wire import certificates

CHILD = """
import asyncio, signal, sys
from yak_net.runtime.interruptible import run
async def work():
    print("begun", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaned up", flush=True)
try:
    run(work())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def interrupt() -> None:
    """Send SIGINT to this process."""
    os.kill(os.getpid(), signal.SIGINT)


def test_result_and_errors_pass_through() -> None:
    """Goal: without an interrupt the same as asyncio.run."""

    async def fail() -> None:
        raise ValueError("x")

    assert run(asyncio.sleep(0, "result")) == "result"
    with pytest.raises(ValueError, match="x"):
        run(fail())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_cancels_and_is_raised_after_the_clean_up() -> None:
    """Goal: finally blocks with awaits run, then KeyboardInterrupt is raised."""
    seen: list[str] = []

    async def work() -> None:
        interrupt()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert seen == ["cleaned up"]


def test_interrupt_after_the_last_await_is_raised() -> None:
    """Goal: no interrupt is swallowed."""

    async def work() -> str:
        interrupt()
        return "done"

    with pytest.raises(KeyboardInterrupt):
        run(work())


def test_own_cancellation_is_no_interrupt() -> None:
    """Goal: a coroutine that cancels itself raises its own exception."""

    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(work())


def test_works_off_the_main_thread() -> None:
    """Goal: it runs where signals cannot be handled."""
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(run(asyncio.sleep(0, "there"))))
    thread.start()
    thread.join(30)
    assert results == ["there"]


def test_a_process_ends_by_a_signal_from_outside() -> None:
    """Goal: the same in a separate process with a sleeping loop."""
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert (rest, process.returncode) == ("cleaned up\ninterrupted\n", 0)


@pytest.mark.parametrize("given", [None, "elsewhere"])
def test_quick_imports_leave_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """Goal: a process reads the configured certificates, although aiohttp does not."""
    monkeypatch.delenv(CERT_FILE, raising=False)
    if given is not None:
        monkeypatch.setenv(CERT_FILE, given)
    quick_import("aiohttp")
    assert os.environ.get(CERT_FILE) == given


def test_certificates_are_read_for_tls_only() -> None:
    """Goal: an https URL is checked against the system's certificates; http loads none."""
    assert certificates("http://a") is True
    found = certificates("https://a")
    assert isinstance(found, ssl.SSLContext)
    assert found.verify_mode is ssl.CERT_REQUIRED
    assert found.cert_store_stats() == ssl.create_default_context().cert_store_stats()
