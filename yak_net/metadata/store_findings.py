"""What is wrong with a metadata store: its address, its reachability, and its durability.

A broker logs the findings at its start, ``yak cluster up`` prints them. They warn only: a cluster
for a lesson may use a Redis that forgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from yak_core.ids import Micros
from yak_net.metadata.redis_store import EMBEDDED_FIELD, NoReply, RedisStore, fields_of

TIMEOUT_US: Final = Micros(2_000_000)


class FindingName(StrEnum):
    """The kinds of findings; users may search for these names."""

    ADDRESS = "store-address"
    """The URL is invalid, or a file or variable that it refers to cannot be used."""
    REACH = "store-reach"
    """The store does not answer, or refuses the login."""
    EMBEDDED = "store-embedded"
    """The store is the one in a process of YAK, and is not durable."""
    ROLE = "store-role"
    """The server is a replica."""
    EVICTION = "store-eviction"
    """The server deletes keys when its memory is full."""
    PERSISTENCE = "store-persistence"
    """A restart or a power failure of the server loses confirmed changes."""
    DISK = "store-disk"
    """The server cannot write to its disk."""
    COPIES = "store-copies"
    """No replica is connected to a primary behind Sentinel."""
    FAILOVER = "store-failover"
    """A failover may lose the last confirmed changes."""
    UNCHECKED = "store-unchecked"
    """The server does not permit to read the settings."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the store. ``is_error``: the cluster cannot work like this.

    ``problem`` says what is wrong, ``advice`` what to do, and what that costs.
    """

    name: FindingName
    problem: str
    advice: str
    is_error: bool = False

    def __str__(self) -> str:
        """Return the finding as one sentence."""
        return f"{self.problem}; {self.advice}"


async def check_store(
    url: str, cluster: str, timeout_us: Micros = TIMEOUT_US
) -> tuple[Finding, ...]:
    """Return the findings about the store of ``cluster`` at ``url``; none if all is well.

    Each command to the server may take ``timeout_us`` microseconds.
    """
    try:
        store = RedisStore(url, cluster, timeout_us)
    except ValueError as error:
        return (_error(FindingName.ADDRESS, str(error)),)
    try:
        return await findings_of(store)
    finally:
        await store.close()


async def findings_of(store: RedisStore) -> tuple[Finding, ...]:
    """Return the findings about an open store. It is not changed."""
    try:
        info = fields_of(await store.inspect("INFO"))
        if EMBEDDED_FIELD in info:
            return (_embedded(store),)
        found = [*_of_role(store, info), *_of_disk(store, info)]
        return (*found, *await _of_settings(store, info))
    except NoReply as reason:
        return (_error(FindingName.REACH, str(reason)),)


def _error(name: FindingName, text: str) -> Finding:
    problem, _, advice = text.partition("; ")
    return Finding(name, problem, advice or "correct the URL of the store", is_error=True)


def _embedded(store: RedisStore) -> Finding:
    return Finding(
        FindingName.EMBEDDED,
        f"the metadata at {store.address.name} is in the memory of one process and is not durable",
        "yak cluster up rebuilds it from the data folders of all brokers",
    )


def _of_role(store: RedisStore, info: dict[str, str]) -> list[Finding]:
    name = f"Redis at {store.address.name}"
    found: list[Finding] = []
    if info.get("role", "master") != "master":
        found.append(
            Finding(
                FindingName.ROLE,
                f"{name} is a replica and can lose or refuse writes",
                "use the URL of its primary",
                is_error=True,
            )
        )
    if store.address.sentinels:
        found.append(
            Finding(
                FindingName.FAILOVER,
                f"{name} fails over to a replica, and a failover may lose the last change that "
                "brokers have acted on; they then halt",
                "read docs/runbook.md#store-behind-its-brokers before, and check that the replicas "
                "have appendonly yes and appendfsync always, too",
            )
        )
        if info.get("connected_slaves", "1") == "0":
            found.append(
                Finding(
                    FindingName.COPIES,
                    f"{name} has no replica, so no change is confirmed",
                    "start a replica, or check its link to the primary",
                    is_error=True,
                )
            )
    return found


def _of_disk(store: RedisStore, info: dict[str, str]) -> list[Finding]:
    states = {
        "aof_last_write_status": "append-only file",
        "rdb_last_bgsave_status": "snapshot",
    }
    return [
        Finding(
            FindingName.DISK,
            f"Redis at {store.address.name} could not write its {what} to its disk",
            "free disk space on its machine, and read its log",
        )
        for field, what in states.items()
        if info.get(field, "ok") != "ok"
    ]


async def _of_settings(store: RedisStore, info: dict[str, str]) -> list[Finding]:
    """Compare the settings with those that durability requires; INFO has some of them, too."""
    name = f"Redis at {store.address.name}"
    settings = {
        "maxmemory-policy": info.get("maxmemory_policy"),
        "appendonly": {"1": "yes", "0": "no"}.get(info.get("aof_enabled", "")),
    }
    for setting in ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"):
        reply = await store.inspect("CONFIG", "GET", setting)
        if isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], bytes):
            settings[setting] = reply[1].decode("ascii", "replace")
    save = await store.inspect("CONFIG", "GET", "save")
    snapshots = isinstance(save, list) and len(save) == 2 and save[1] not in (None, b"")
    found: list[Finding] = []
    policy, appended = settings["maxmemory-policy"], settings["appendonly"]
    if policy not in ("noeviction", None):
        found.append(
            Finding(
                FindingName.EVICTION,
                f"{name} has maxmemory-policy {policy}, so it can delete the metadata when its "
                "memory is full",
                "set maxmemory-policy noeviction; it then refuses writes instead, also those of "
                "other programs",
            )
        )
    if appended == "no":
        kept = "since its last snapshot" if snapshots else "it has"
        found.append(
            Finding(
                FindingName.PERSISTENCE,
                f"{name} has appendonly no, so a restart can lose all metadata {kept}",
                "set appendonly yes; that costs a write to its disk for each change, and brokers "
                "make a few changes per second",
            )
        )
    found += _of_fsync(name, settings)
    unknown = [
        setting
        for setting in ("appendonly", "appendfsync", "maxmemory-policy")
        if settings.get(setting) is None
    ]
    if unknown:
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        found.append(
            Finding(
                FindingName.UNCHECKED,
                f"{name} does not permit CONFIG GET, so {', '.join(unknown)} could not be checked",
                "check that it has " + ", ".join(f"{each} {wanted[each]}" for each in unknown)
                + ", or permit +config|get and +info to the user",
            )
        )
    return found


def _of_fsync(name: str, settings: dict[str, str | None]) -> list[Finding]:
    cost = "that costs a flush of its disk for each change"
    flush = settings.get("appendfsync")
    if flush not in ("always", None):
        return [
            Finding(
                FindingName.PERSISTENCE,
                f"{name} has appendfsync {flush}, so a power failure can lose acknowledged writes",
                f"set appendfsync always; {cost}",
            )
        ]
    if flush == "always" and settings.get("no-appendfsync-on-rewrite") == "yes":
        return [
            Finding(
                FindingName.PERSISTENCE,
                f"{name} has no-appendfsync-on-rewrite yes, so a power failure during a rewrite of "
                "its file can lose acknowledged writes",
                f"set no-appendfsync-on-rewrite no; {cost}, also during a rewrite",
            )
        ]
    return []
