"""A process that writes to a log until it is killed, and prints which records must survive.

``floor END`` is printed after the records below END were flushed, ``cut END`` before the log is
truncated to END.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from tests.net.storage_tools import batch
from yak_core.contract.events import DiskOk, DiskResult
from yak_core.ids import LogGeneration, OpId
from yak_net.storage import BrokerDisk, open_storage

IN_FLIGHT = (1, 20)
"""Effects in flight: with one, the loop writes the appends; with more, the disk thread does."""
TRUNCATES_EACH = 15
"""One effect in this number is a truncation."""


class Writer:
    """Keeps one or many effects in flight, in turn."""

    def __init__(self, path: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        storage = open_storage(path, "n1")
        recovered = storage.recovered
        self.end = recovered.leo
        self.flushed = recovered.leo
        self.epoch = recovered.epochs[-1][0] + 1 if recovered.epochs else 1
        self.ends: dict[int, tuple[int, int]] = {}
        self.generation = 0
        self.op = 0
        self.room = asyncio.Event()
        self.disk = BrokerDisk(storage, self.on_done, self.on_fatal, cache_bytes=1 << 16)

    def on_done(self, op: int, generation: LogGeneration, result: DiskResult) -> None:
        assert result == DiskOk()
        of, end = self.ends.pop(op, (-1, 0))
        if of == self.generation:
            self.flushed = end
            say(f"floor {end}")
        self.room.set()

    def on_fatal(self, reason: str) -> None:
        say(f"fatal {reason}")

    def order(self) -> None:
        """Issue an append with its flush, a saved value, or a truncation of unflushed records."""
        self.op += 1
        draw = self.draw
        if draw.randrange(TRUNCATES_EACH) == 0 and self.end > 0:
            self.end = draw.randrange(max(0, self.flushed - 3), self.end + 1)
            self.generation += 1
            self.epoch += 1
            say(f"cut {self.end}")
            self.disk.truncate(OpId(self.op), LogGeneration(self.generation), self.end)
        elif draw.randrange(TRUNCATES_EACH) == 0:
            self.disk.save(OpId(self.op), "epoch", b"%d" % self.epoch)
        else:
            parts = [batch(self.end, self.epoch, 1, draw.choice((20, 300, 5000)))]
            parts.append(batch(parts[0].end, self.epoch, 1, 50))
            self.disk.append(OpId(self.op), LogGeneration(self.generation), tuple(parts))
            self.end = parts[1].end
        self.op += 1
        self.ends[self.op] = (self.generation, self.end)
        self.disk.flush(OpId(self.op), LogGeneration(self.generation))

    async def run(self) -> None:
        while True:
            while len(self.ends) >= IN_FLIGHT[self.op // 40 % 2]:
                self.room.clear()
                await self.room.wait()
            self.order()
            await asyncio.sleep(0)


def say(line: str) -> None:
    """Print a line in one write."""
    os.write(1, f"{line}\n".encode())


async def main() -> None:
    """Run ``storage_child.py PATH SEED``."""
    await Writer(Path(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    asyncio.run(main())
