"""The embedded metadata with its content saved beside the data; must never be called durable.

The brokers' logs outlive the server, and brokers whose metadata is gone refuse to start. So its
content is written to a file soon after each change, and loaded at the next start. What changed in
the last moment before a crash is not in that file: then the brokers find that their logs know more
than the metadata, and halt rather than guess.
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

from yak_net.cluster import CannotStart, ClusterError, must

if TYPE_CHECKING:
    from yak_net.embedded import EmbeddedMetadata

SCHEMA: Final = 1
KIND: Final = "yak-embedded-metadata"
NAME: Final = "metadata.json"
LOOK_S: Final = 0.25
ANSWER_S: Final = 5.0
UNSAVED: Final = (":beats", ":view")
"""Keys that change all the time and are worth no write of their own."""

Content = dict[str, dict[str, Any]]
"""Key -> its kind and its value, bytes as base64."""

# In one script, so that the keys are those of one moment.
_DUMP: Final = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key)['ok']
  local value
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'string' then value = redis.call('GET', key) end
  found[#found + 1] = {key, kind, value}
end
return found
"""


class KeptMetadata:
    """The embedded metadata of ``cluster``, kept in ``folder``.

    ``note`` says what the saved content is worth, and is empty when nothing speaks against it.
    ``problem`` says why it cannot be saved at the moment; ``on_problem`` is told when it
    begins. ``server`` is there while it serves.
    """

    def __init__(
        self, folder: Path, cluster: str, on_problem: Callable[[str], None] | None = None
    ) -> None:
        self.path = folder / NAME
        self.cluster = cluster
        self.note = ""
        self.problem = ""
        self.server: EmbeddedMetadata | None = None
        # redis-py's commands have no types.
        self._client: Any = None
        self._keeping: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()
        self._was_final = True
        self._on_problem = on_problem
        self._saved: Content | None = None

    async def start(self) -> str:
        """Serve what was saved, and return the redis:// URL. Raises CannotStart."""
        from redis.asyncio import Redis

        from yak_net.embedded import EmbeddedMetadata

        content = self._load()
        self.server = EmbeddedMetadata()
        with must("serve the metadata"):
            url = self.server.start()
        self._client = Redis.from_url(
            url, protocol=2, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S
        )
        for key, entry in content.items():
            if entry["kind"] == "hash":
                pairs = {_bytes(name): _bytes(value) for name, value in entry["value"]}
                await self._client.execute_command(
                    "HSET", key, *(word for pair in pairs.items() for word in pair)
                )
            else:
                await self._client.execute_command("SET", key, _bytes(entry["value"]))
        await self._save(content, final=False)
        if self.problem:
            raise CannotStart(self.problem)
        self._keeping = asyncio.create_task(self._keep())
        return url

    async def close(self, *, served: bool) -> None:
        """Save once more and end the server; every broker has ended.

        ``served`` says that a leader had accepted the content, so that it was not too old.
        """
        if self._keeping is not None:
            # Not cancelled, for that would leave a write to the same file behind.
            self._enough.set()
            await asyncio.wait((self._keeping,))
            self._keeping = None
            content = await self._look()
            if content is not None:
                await self._save(content, final=served or self._was_final)
        if self._client is not None:
            await self._client.aclose()
            self._client = None
        if self.server is not None:
            self.server.stop()
            self.server = None

    async def _keep(self) -> None:
        while not self._enough.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._enough.wait()
            content = await self._look()
            if content is not None and (self.problem or _lasting(content) != _lasting(self._saved)):
                await self._save(content, final=False)

    async def _look(self) -> Content | None:
        """The content as it is, None if the server does not answer."""
        from redis.exceptions import RedisError

        try:
            return await self._dump()
        except (RedisError, OSError) as error:
            self._blame(f"cannot read the metadata, so it is not saved: {error}")
            return None

    async def _dump(self) -> Content:
        assert self._client is not None
        pattern = f"yak:{{{self.cluster}}}:*"
        found: Content = {}
        for key, kind, value in await self._client.execute_command("EVAL", _DUMP, 0, pattern):
            entry: object
            if kind == b"hash":
                pairs = zip(value[::2], value[1::2], strict=True)
                entry = sorted([_text(name), _text(each)] for name, each in pairs)
            elif kind == b"string":
                entry = _text(value)
            else:
                continue  # Somebody else's: ours are of these two kinds.
            found[key.decode()] = {"kind": kind.decode(), "value": entry}
        return dict(sorted(found.items()))

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
            self._blame(f"cannot save the metadata to {self.path}: {error.strerror}")
            return
        self.problem = ""
        self._saved = content

    def _blame(self, problem: str) -> None:
        if not self.problem and self._on_problem is not None:
            self._on_problem(problem)
        self.problem = problem

    def _load(self) -> Content:
        """What was saved; empty for a new data directory. Raises CannotStart."""
        folder = self.path.parent
        has_logs = any(folder.glob("*/identity.json"))
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            if has_logs:
                raise CannotStart(
                    f"{folder} holds the data of brokers, but not the metadata that belongs to it "
                    f"({self.path.name}): give another --data-dir, or with --redis the Redis that "
                    "these brokers ran with"
                ) from None
            return {}
        except OSError as error:
            raise CannotStart(f"cannot read {self.path}: {error.strerror}") from error
        try:
            body = json.loads(data)
            kind, schema, cluster = body["kind"], int(body["schema"]), str(body["cluster"])
            content: Content = {
                str(key): _checked(entry) for key, entry in dict(body["keys"]).items()
            }
            final, saved_s = bool(body["final"]), int(body["saved_ms"]) / 1000
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CannotStart(
                f"{self.path} is damaged or not YAK's: give another --data-dir"
            ) from error
        if kind != KIND or schema > SCHEMA:
            raise CannotStart(
                f"{self.path} is of another kind or of a newer version: give another --data-dir"
            )
        if not has_logs:
            return {}  # Somebody has deleted the data, so there is nothing that it belongs to.
        if cluster != self.cluster:
            raise CannotStart(
                f"{folder} holds cluster {cluster}: give --cluster {cluster}, or another --data-dir"
            )
        self._was_final = final
        if not final:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(saved_s))
            self.note = (
                f"the embedded metadata is as it was saved at {at}, and the cluster did not stop "
                "in good order after that"
            )
        return content


def _lasting(content: Content | None) -> Content | None:
    if content is None:
        return None
    return {key: entry for key, entry in content.items() if not key.endswith(UNSAVED)}


def _write(path: Path, body: dict[str, object]) -> None:
    from yak_net.storage.system import System, write_file

    write_file(System(), path, (json.dumps(body, separators=(",", ":")) + "\n").encode())


def _checked(entry: Any) -> dict[str, Any]:
    """An entry as it was read. Raises ValueError and others when it is none."""
    kind, value = entry["kind"], entry["value"]
    if kind == "hash":
        for name, each in value:
            _bytes(name), _bytes(each)
    elif kind == "string":
        _bytes(value)
    else:
        raise ValueError(f"no kind of entry: {kind!r}")
    return {"kind": kind, "value": value}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


async def remarks(redis_url: str, cluster: str) -> tuple[str, ...]:
    """What a Redis promises less of than is needed, each a sentence; best none."""
    from yak_net.redis_store import RedisStore

    store = RedisStore(redis_url, cluster, int(ANSWER_S * 1_000_000))
    try:
        return await store.remarks()
    finally:
        await store.close()


async def members(redis_url: str, cluster: str) -> tuple[str, ...]:
    """The brokers that the cluster's record names, empty if there is no record yet.

    Raises CannotStart for an address of no use, ClusterError if the store does not answer.
    """
    from yak_core.metadata.calls import Done, Read
    from yak_net.redis_store import RedisStore, StoreError

    try:
        store = RedisStore(redis_url, cluster, int(ANSWER_S * 1_000_000))
    except ValueError as error:
        raise CannotStart(str(error)) from error
    try:
        outcome = await store.call(Read())
    except StoreError as error:
        raise ClusterError(str(error)) from error
    finally:
        await store.close()
    if not isinstance(outcome, Done):
        raise ClusterError(store.problem or "the metadata store does not answer")
    record = outcome.value.record
    return () if record is None else tuple(record.replicas)
