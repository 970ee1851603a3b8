"""Run all checks of a set-up at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

from yak_net.doctor.brokers import answer_at, check_brokers
from yak_net.doctor.machine import (
    check_data,
    check_disk,
    check_open_files,
    check_port,
    data_folders,
)
from yak_net.doctor.results import Check, Result, SetUp, Severity
from yak_net.doctor.store import check_store
from yak_net.runtime.settings import CLUSTER
from yak_net.storage.folder import read_identity
from yak_net.storage.system import StorageError


async def examine(set_up: SetUp) -> list[Result]:
    """Return the results of all checks of a set-up, in a fixed order of the checks."""
    folders = await asyncio.to_thread(data_folders, set_up.folders)
    work: list[Awaitable[list[Result]]] = []
    if set_up.listen is not None:
        work.append(_port(set_up))
    work.append(asyncio.to_thread(_machine, set_up, folders))
    if set_up.redis_url:
        work.append(check_store(set_up.redis_url, _cluster(set_up, folders), folders))
    if set_up.servers:
        work.append(check_brokers(set_up.servers, set_up.cluster))
    return [result for results in await asyncio.gather(*work) for result in results]


def _cluster(set_up: SetUp, folders: list[Path]) -> str:
    """Return the name of the cluster: the expected one, or that of the first data folder."""
    for folder in () if set_up.cluster else folders:
        with suppress(StorageError):  # the check of the data folder reports it
            if found := read_identity(folder).cluster:
                return found
    return set_up.cluster or CLUSTER


def _machine(set_up: SetUp, folders: list[Path]) -> list[Result]:
    runs = bool(set_up.servers) or set_up.listen is None
    return [
        *(check_data(folder, set_up, runs=runs) for folder in folders),
        *(check_disk(folder) for folder in set_up.folders),
        check_open_files(),
    ]


async def _port(set_up: SetUp) -> list[Result]:
    """Check the port of a broker, and whether it is this broker that listens on it."""
    import aiohttp

    assert set_up.listen is not None
    host, port = set_up.listen
    found = await asyncio.to_thread(check_port, host, port)
    if found.severity is Severity.OK:
        return [found]
    async with aiohttp.ClientSession() as session:
        answer = await answer_at(session, f"http://{found.subject}")
    if not answer.node:
        return [found]
    who = f"broker {answer.node} of cluster {answer.cluster}"
    mine = set_up.node in (None, answer.node) and set_up.cluster in (None, answer.cluster)
    if mine:
        brokers = await check_brokers([answer.url], set_up.cluster)
        return [Result(Check.PORT, Severity.OK, found.subject, f"{who} runs here"), *brokers]
    return [Result(Check.PORT, Severity.ERROR, found.subject, f"{who} uses it", found.advice)]
