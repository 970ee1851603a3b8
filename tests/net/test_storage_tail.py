"""The newest batches in memory: the log end after truncations below the dropped batches."""

from __future__ import annotations

from tests.net.storage_tools import batch, batches
from yak_net.storage.tail import Tail


def test_truncation_after_a_truncation_below_memory() -> None:
    """Goal: dropped batches do not affect the log after a truncation.

    Method: drop a long log, truncate far below, append, and truncate between. Seed 3 of
    test_flushed_records_survive_many_kills found it.
    """
    for cut in range(1, 6):
        tail = Tail(0, 0, bytes_max=0)
        tail.append(batches(*[20] * 60))
        tail.evict(60)
        assert tail.start == tail.leo == 60
        tail.truncate(10)
        tail.append(tuple(batch(10 + number, epoch=2) for number in range(6)))
        tail.truncate(10 + cut)
        assert tail.leo == 10 + cut
        assert tail.can_append(10 + cut)
        assert [one.base_offset for one in tail.read(10, 99, 1 << 20)] == list(range(10, 10 + cut))
