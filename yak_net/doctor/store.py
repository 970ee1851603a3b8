"""Checks of the metadata store: reach, durability, the cluster in it, and its clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from yak_core.metadata.store_calls import Read, StoreOk
from yak_net.doctor.clocks import clock_result
from yak_net.doctor.results import Check, Result, Severity
from yak_net.metadata.redis_store import EMBEDDED_NAME, NoReply, RedisStore, StoreError
from yak_net.metadata.store_findings import TIMEOUT_US, FindingName, findings_of
from yak_net.storage.folder import StoreName, read_identity, wrong_store
from yak_net.storage.system import StorageError

NOTES: Final = (FindingName.EMBEDDED, FindingName.UNCHECKED, FindingName.FAILOVER)
"""Findings that are no fault of the set-up."""


async def check_store(url: str, cluster: str, folders: Sequence[Path]) -> list[Result]:
    """Check the store of ``cluster`` at ``url``, and that the data ``folders`` belong to it."""
    try:
        store = RedisStore(url, cluster, TIMEOUT_US)
    except ValueError as error:
        problem, _, advice = str(error).partition("; ")
        advice = advice or "correct --redis (YAK_REDIS_URL)"
        return [Result(FindingName.ADDRESS, Severity.ERROR, "the Redis URL", problem, advice)]
    try:
        subject = f"Redis at {store.address.name}"
        found = await findings_of(store)
        results = [
            Result(
                each.name,
                Severity.ERROR
                if each.is_error
                else Severity.NOTE
                if each.name in NOTES
                else Severity.WARNING,
                subject,
                each.problem,
                each.advice,
            )
            for each in found
        ]
        if any(each.name == FindingName.REACH for each in found):
            return results
        results += await _content(store, subject, folders)
        results += await _clock(store, subject)
        if not found:
            text = "answers; appendonly yes, appendfsync always, noeviction"
            results.insert(0, Result(Check.STORE, Severity.OK, subject, text))
        return results
    finally:
        await store.close()


async def _content(store: RedisStore, subject: str, folders: Sequence[Path]) -> list[Result]:
    """Compare the store of each data folder with this one, as a broker does at its start."""
    try:
        outcome = await store.call(Read())
    except StoreError as error:
        advice = "stop the brokers, and see yak cluster recover"
        return [Result(Check.STORE, Severity.ERROR, subject, str(error), advice)]
    if not isinstance(outcome, StoreOk):
        problem, _, advice = store.problem.partition("; ")
        return [Result(FindingName.REACH, Severity.ERROR, subject, problem, advice)]
    state = outcome.value.state
    found = None if state is None else state.store_id
    name = await store.name()
    results = []
    for folder in folders:
        try:
            known = read_identity(folder).store
        except StorageError:
            continue  # the check of the data folder reports it
        if known is not None and known.store_id != found:
            results.append(_other_store(folder, known, name, found))
    return results


def _other_store(folder: Path, known: StoreName, name: str, found: str | None) -> Result:
    if found is None and name in (known.address, EMBEDDED_NAME):
        advice = "if it was emptied, rebuild it with yak cluster recover"
    else:
        advice = "correct --redis (YAK_REDIS_URL) or --data-dir (YAK_DATA_DIR)"
    problem = wrong_store(folder, known, name, found)
    return Result(Check.CLUSTER_NAME, Severity.ERROR, str(folder), problem, advice)


async def _clock(store: RedisStore, subject: str) -> list[Result]:
    """Compare the clock of the server with the clock of this machine."""
    before = time.time()
    try:
        reply = await store.inspect("TIME")
    except NoReply:
        return []
    after = time.time()
    if not isinstance(reply, list) or len(reply) != 2:
        return []  # an ACL forbids it
    theirs = int(reply[0]) + int(reply[1]) / 1e6
    return [clock_result(subject, before, after, theirs, theirs)]
