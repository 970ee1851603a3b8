"""The segment has Kafka's format: an independent library reads the file."""

from __future__ import annotations

import warnings
from pathlib import Path

from tests.net.storage_tools import NOT_SYNCED, Driven, batch, value_of
from yak_core.ids import LogGeneration, OpId

with warnings.catch_warnings():  # the peer uses an API deprecated in 3.11 and 3.12
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.record.memory_records import MemoryRecords


async def test_independent_library_reads_the_segment(tmp_path: Path) -> None:
    """Goal: offsets, epochs, producers and records are equal, after a truncation too."""
    parts = [
        batch(0, 1, 3, 50),
        batch(3, 1, 1, 500, producer=9, sequence=4),
        batch(4, 6, 200, 10, producer=10, sequence=2**31 - 1),
    ]

    driven = Driven(tmp_path, system=NOT_SYNCED)
    driven.disk.append(OpId(1), LogGeneration(0), (parts[0], parts[1], batch(4, 2, 9)))
    driven.disk.truncate(OpId(2), LogGeneration(1), 4)
    driven.disk.append(OpId(3), LogGeneration(1), (parts[2],))
    driven.disk.flush(OpId(4), LogGeneration(1))
    await driven.complete(4)
    driven.disk.close()
    segment = tmp_path / "00000000000000000000.log"
    found = MemoryRecords(segment.read_bytes())
    seen = []
    while found.has_next():
        peer = found.next_batch()
        assert peer is not None
        assert peer.validate_crc()
        values = [record.value for record in peer]
        seen.append((peer.base_offset, peer.leader_epoch, peer.producer_id, peer.base_sequence))
        assert values == [
            value_of(peer.base_offset + index, peer.leader_epoch, len(value))
            for index, value in enumerate(values)
        ]
    assert seen == [(0, 1, -1, -1), (3, 1, 9, 4), (4, 6, 10, 2**31 - 1)]
    assert found.valid_bytes() == segment.stat().st_size
