"""Programs with clients, as processes that always end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.net.brokers import CLEAN, ROOT


@asynccontextmanager
async def script(text: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program with all warnings shown; its output and its errors are one stream.

    The process is killed at the end of the block.
    """
    env = CLEAN | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "default", "-c", text, *words, env=env,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
