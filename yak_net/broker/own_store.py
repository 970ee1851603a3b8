"""The metadata store that a data directory belongs to: checked at the start, and remembered.

At the same address the node itself compares what it has seen with the store. This module recognises
that another address was given: then nothing was lost, and the message names both stores.
"""

from __future__ import annotations

import asyncio

import structlog

from yak_core.metadata.store_calls import Read, StoreOk
from yak_net.metadata.redis_store import RedisStore
from yak_net.storage.folder import DataFolder, StoreName, wrong_store

log = structlog.get_logger("yak.broker")


class WrongStore(Exception):
    """The data directory belongs to another metadata store; the message names both."""


class OwnStore:
    """The store of one open data directory, reached through ``store``."""

    def __init__(self, store: RedisStore, folder: DataFolder) -> None:
        self._store = store
        self._folder = folder
        self._saved = ""
        self._saving: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise WrongStore if the directory belongs to a store at another address.

        A store that has moved keeps its id. If the store does not answer, the node waits for it.
        """
        known, name = self._folder.store, await self._store.name()
        if known is None or known.address == name:
            return
        outcome = await self._store.call(Read())
        if not isinstance(outcome, StoreOk):
            return
        state = outcome.value.state
        store_id = None if state is None else state.store_id
        if store_id != known.store_id:
            raise WrongStore(
                wrong_store(self._folder.path, known, name, store_id)
                + "; correct --redis-url, or choose another directory with --data-dir"
            )

    def remember(self, store_id: str) -> None:
        """Save in the directory that its partition state came from this store, once in a start."""
        if store_id != self._saved:
            self._saved = store_id
            self._saving = asyncio.create_task(self._save(store_id))

    async def close(self) -> None:
        """Wait for a save in progress."""
        if self._saving is not None:
            await self._saving

    async def _save(self, store_id: str) -> None:
        name = StoreName(store_id, await self._store.name())
        try:
            await asyncio.to_thread(self._folder.set_store, name)
        except OSError as error:
            log.warning("cannot save the store", folder=str(self._folder.path), error=str(error))
