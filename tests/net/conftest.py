"""Fixtures of the tests of yak_net: coroutines are tests."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.client_tools import Made
from tests.net.http_tools import WorldGateway, cluster
from tests.net.test_older_data import NODES, SAMPLES
from yak_net.metadata.embedded import EmbeddedMetadata

PATIENCE_S = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine.

    A timeout fails the test, even if the clean-up hangs as well. So does an exception in a
    callback, which asyncio would only log.
    """
    raised: list[dict[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: raised.append(what))
        task = asyncio.ensure_future(work)
        await asyncio.wait((task,), timeout=PATIENCE_S)
        if task.done():
            task.result()
            return
        frames = task.get_stack()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        raise AssertionError(f"timeout: {frames}")

    asyncio.run(bounded())
    assert not raised, f"a callback raised: {raised}"


@pytest.fixture
def made() -> Made:
    """Collect the runtimes that a client under test makes."""
    return Made()


@pytest.fixture
def gateway() -> WorldGateway:
    """Return the gateway of the leader of three brokers."""
    return WorldGateway(cluster())


@pytest.fixture
def alone() -> WorldGateway:
    """Return the gateway of a cluster of one broker."""
    return WorldGateway(cluster(("n1",), 1))


@pytest.fixture
def metadata() -> Iterator[EmbeddedMetadata]:
    """Yield a metadata server for one test."""
    with EmbeddedMetadata() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder; no option has a value from the environment."""
    monkeypatch.chdir(tmp_path)
    for name in tuple(os.environ):
        if name.startswith("YAK_") and name != "YAK_REQUIRE":
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def data(folder: Path) -> Path:
    """Return the data folder of a stopped cluster of three brokers, without its store."""
    for node in NODES:
        shutil.copytree(SAMPLES / node, folder / "data" / node)
    return folder / "data"
