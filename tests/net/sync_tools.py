"""A runtime that answers each batch at once or never, for producers in any thread and process."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.net.client_tools import REFUSED
from yak_core.contract.client_calls import ClientCall, ClientResult, SendBatch, SendResult
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Epoch


class Answering:
    """Refuses the batches that contain ``bad``, ignores those with ``never``, confirms others."""

    def __init__(self, *_: Any) -> None:
        self.halt_reason = ""
        self.values: list[bytes] = []
        self._end = 0

    async def start(self, within_s: float) -> None:
        """Start at once."""

    def ask(self, call: ClientCall) -> asyncio.Future[ClientResult]:
        """Answer by the content of the batch."""
        assert isinstance(call, SendBatch)
        answer: asyncio.Future[ClientResult] = asyncio.get_running_loop().create_future()
        content = bytes(call.batch.data)
        if b"never" in content:
            return answer
        if b"bad" in content:
            answer.set_result(REFUSED)
            return answer
        base, self._end = self._end, self._end + call.batch.count
        answer.set_result(SendResult(ErrorCode.NONE, Outcome.WRITTEN, base, Epoch(1)))
        return answer

    def connection_failures(self) -> str:
        """Return no failure: there is no connection."""
        return ""

    def cancel(self, future: asyncio.Future[ClientResult]) -> None:
        """Cancel the call."""
        future.cancel()

    async def close(self) -> None:
        """Close at once."""
