"""The embedded metadata store, saved to a file in the data folder; not durable.

The logs of the brokers outlive the metadata server, and brokers without their metadata refuse to
start. So the content is saved to a file soon after each change and loaded at the next start. A
change just before a crash may be missing in the file; then the brokers have saved a newer partition
state than the file has. :mod:`yak_net.cluster.recovery` compares the two before a broker starts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from yak_net.cluster.errors import CannotStart, ClusterError, start_errors

if TYPE_CHECKING:
    from yak_core.metadata.partition_state import PartitionState
    from yak_net.metadata.embedded import EmbeddedMetadata
    from yak_net.metadata.redis_store import RedisStore

SCHEMA: Final = 1
KIND: Final = "yak-embedded-metadata"
NAME: Final = "metadata.json"
POLL_S: Final = 0.25
TIMEOUT_S: Final = 5.0
DAMAGED_SUFFIX: Final = ".damaged"
UNSAVED_SUFFIXES: Final = (":beats", ":view")
"""Suffixes of keys that change often; a change of these keys alone is not saved."""

Content = dict[str, dict[str, Any]]
"""Key -> its Redis type ("kind") and its value, bytes as base64."""

# One script, so that the values form a consistent snapshot.
_DUMP: Final = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key)['ok']
  local read = ({hash = 'HGETALL', string = 'GET'})[kind]
  if read then found[#found + 1] = {key, kind, redis.call(read, key)} end
end
return found
"""


class SavedMetadata:
    """The embedded metadata of ``cluster``, saved in ``folder``; served from start to close.

    ``final`` says whether the loaded content was saved when its cluster stopped, so that it is
    complete. ``damage`` says why the file could not be read; the content is then empty. ``problem``
    is the reason why the latest save failed, else empty. ``on_problem`` is called with
    it for the first of consecutive failures, and with the reason why the server closes connections.
    """

    def __init__(
        self, folder: Path, cluster: str, on_problem: Callable[[str], None] = lambda _: None
    ) -> None:
        self.path = folder / NAME
        self.cluster = cluster
        self.final = False
        self.damage = ""
        self.problem = ""
        self.server: EmbeddedMetadata | None = None
        # Any, because the commands of redis-py have no type annotations.
        self._client: Any = None
        self._saving: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._on_problem = on_problem
        self._saved: Content = {}

    async def start(self) -> str:
        """Load the saved content and serve it; return the redis:// URL. Raises CannotStart.

        The file is not changed before :meth:`keep_saved`.
        """
        from redis.asyncio import Redis

        from yak_net.metadata.embedded import EmbeddedMetadata

        commands = self._load()
        loop = asyncio.get_running_loop()

        def on_problem(text: str) -> None:
            loop.call_soon_threadsafe(self._on_problem, text)

        self.server = EmbeddedMetadata(on_problem=on_problem)
        with start_errors("serve the metadata"):
            url = self.server.start()
        self._client = Redis.from_url(
            url, protocol=2, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        for command in commands:
            await self._client.execute_command(*command)
        return url

    async def keep_saved(self) -> None:
        """Save the content now and after each change. Raises CannotStart if that is not possible.

        A damaged file is kept under another name.
        """
        if self.damage:
            with start_errors(f"rename {self.path}"):
                self.path.replace(self.path.with_name(NAME + DAMAGED_SUFFIX))
        content = await self._dump()
        if content is not None:
            await self._save(content, final=False)
        if self.problem:
            raise CannotStart(self.problem)
        self._saving = asyncio.create_task(self._save_changes())

    async def close(self) -> None:
        """Save the content and stop the server, after all brokers have ended."""
        if self._saving is not None:
            # Not cancelled: a cancelled task would leave a write to the same file in flight.
            self._closing.set()
            await asyncio.wait((self._saving,))
            self._saving = None
            content = await self._dump()
            if content is not None:
                await self._save(content, final=True)
        if self._client is not None:
            await self._client.aclose()
        if self.server is not None:
            self.server.stop()
        self._client = self.server = None

    async def _save_changes(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._closing.wait()
            content = await self._dump()
            changed = _saved_keys(content or {}) != _saved_keys(self._saved)
            if content is not None and (self.problem or changed):
                await self._save(content, final=False)

    async def _dump(self) -> Content | None:
        """Return the content; None if the server does not answer."""
        from redis.exceptions import RedisError

        pattern = f"yak:{{{self.cluster}}}:*"
        try:
            found = await self._client.execute_command("EVAL", _DUMP, 0, pattern)
        except (RedisError, OSError) as error:
            self._report(f"cannot save the metadata: reading it failed: {error}")
            return None
        content: Content = {}
        for key, kind, value in sorted(found):
            entry: object = value
            if kind == b"hash":
                pairs = zip(value[::2], value[1::2], strict=True)
                entry = sorted([_text(name), _text(each)] for name, each in pairs)
            else:
                entry = _text(value)
            content[key.decode()] = {"kind": kind.decode(), "value": entry}
        return content

    async def _save(self, content: Content, *, final: bool) -> None:
        body = {
            "schema": SCHEMA,
            "kind": KIND,
            "cluster": self.cluster,
            "final": final,
            "saved_ms": time.time_ns() // 1_000_000,
            "keys": content,
        }
        try:
            await asyncio.to_thread(_write, self.path, body)
        except OSError as error:
            self._report(f"cannot save the metadata to {self.path}: {error.strerror}")
            return
        self.problem = ""
        self._saved = content

    def _report(self, problem: str) -> None:
        if not self.problem:
            self._on_problem(problem)
        self.problem = problem

    def _load(self) -> list[list[Any]]:
        """Return the Redis commands that restore the saved content.

        There are none for a new data folder, and for a missing or damaged file. Raises CannotStart.
        """
        folder = self.path.parent
        if not self.path.exists():
            return []
        with start_errors(f"read {self.path}"):
            data = self.path.read_bytes()
        try:
            body = json.loads(data)
            kind, schema, cluster = body["kind"], int(body["schema"]), str(body["cluster"])
            if kind != KIND or schema > SCHEMA:
                raise CannotStart(
                    f"{self.path}: expected kind {KIND} with schema up to {SCHEMA}, got {kind} "
                    f"with schema {schema}; give another --data-dir"
                )
            content: Content = body["keys"]
            commands = [_restore_command(key, **entry) for key, entry in content.items()]
            final = bool(body["final"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.damage = f"{self.path} is damaged: {type(error).__name__}: {error}"
            return []
        if not any(folder.glob("*/identity.json")):
            return []  # the broker data was deleted, so its metadata is obsolete
        if cluster != self.cluster:
            raise CannotStart(
                f"{folder} contains cluster {cluster}, not {self.cluster}; give --cluster "
                f"{cluster} or another --data-dir"
            )
        self.final = final
        return commands


def _saved_keys(content: Content) -> Content:
    return {key: entry for key, entry in content.items() if not key.endswith(UNSAVED_SUFFIXES)}


def _write(path: Path, body: dict[str, object]) -> None:
    from yak_net.storage.system import System, write_file

    write_file(System(), path, (json.dumps(body, separators=(",", ":")) + "\n").encode())


def _restore_command(key: str, kind: str, value: Any) -> list[Any]:
    """Return the Redis command that restores a key. Raises ValueError, TypeError."""
    if kind == "hash":
        return ["HSET", key, *(_bytes(part) for pair in value for part in pair)]
    return ["SET", key, _bytes(value)]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def client_of(redis_url: str, cluster: str) -> RedisStore:
    """Return a client of the store at ``redis_url``. Raises CannotStart for an invalid address."""
    from yak_net.metadata.redis_store import RedisStore

    try:
        return RedisStore(redis_url, cluster, int(TIMEOUT_S * 1_000_000))
    except ValueError as error:
        raise CannotStart(str(error)) from error


async def warnings(redis_url: str, cluster: str) -> tuple[str, ...]:
    """Return one warning for each thing that makes the store less durable than needed."""
    from yak_net.metadata.store_findings import findings_of

    store = client_of(redis_url, cluster)
    try:
        return tuple(str(finding) for finding in await findings_of(store))
    finally:
        await store.close()


async def members(redis_url: str, cluster: str) -> tuple[str, ...]:
    """Return the broker ids in the cluster's metadata record; none if there is no record yet.

    Raises CannotStart for an invalid address, ClusterError if the store does not answer.
    """
    record = await _record(redis_url, cluster)
    return () if record is None else tuple(record.replicas)


async def min_isr_of(redis_url: str, cluster: str) -> int:
    """Return the min ISR in the cluster's metadata record; 0 if it cannot be read."""
    try:
        record = await _record(redis_url, cluster)
    except ClusterError:
        return 0
    return 0 if record is None else record.effective_min_isr


async def _record(redis_url: str, cluster: str) -> PartitionState | None:
    """Return the cluster's metadata record, or None. Raises CannotStart, ClusterError."""
    from yak_core.metadata.store_calls import Read, StoreOk
    from yak_net.metadata.redis_store import StoreError

    store = client_of(redis_url, cluster)
    try:
        outcome = await store.call(Read())
    except StoreError as error:
        raise ClusterError(str(error)) from error
    finally:
        await store.close()
    if not isinstance(outcome, StoreOk):
        raise ClusterError(store.problem or "no response of the metadata store")
    return outcome.value.state
