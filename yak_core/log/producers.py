"""The idempotence table: the last batches of each producer.

The table is computed from the log alone. So every replica has it, and a new leader recognises
retries (KIP-98). It keeps five batches for each producer, because five may be in flight
(KAFKA-5494). Only a leader validates batches; followers and recovery apply them (KAFKA-6003). With
more than ``limit`` producers, the producer with the oldest last batch is removed. This follows the
order of the log, so all replicas remove the same producer.
"""

from __future__ import annotations

from yak_core.ids import Offset
from yak_core.value import value

SEQUENCE_MODULUS = 1 << 31
WINDOW = 5
PRODUCERS_MAX = 10_000


@value
class ProducerEntry:
    """The epoch and the last batches of one producer id.

    ``batches`` are at most 5 tuples (first sequence, last sequence, base offset, end offset),
    oldest first.
    """

    epoch: int
    batches: tuple[tuple[int, int, Offset, Offset], ...]

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest record."""
        return self.batches[-1][1]


def successor(sequence: int, count: int = 1) -> int:
    """Return ``sequence`` + ``count`` modulo 2^31 (KAFKA-5283)."""
    return (sequence + count) % SEQUENCE_MODULUS


class ProducerTable:
    """The entry of each producer id, the longest idle first, at most ``limit``.

    Entries are immutable, so copies of the table share them.
    """

    __slots__ = ("entries", "limit")

    def __init__(
        self, entries: tuple[tuple[int, ProducerEntry], ...] = (), limit: int = PRODUCERS_MAX
    ) -> None:
        newest_last = sorted(entries, key=_by_end)
        self.entries: dict[int, ProducerEntry] = dict(newest_last[max(0, len(entries) - limit) :])
        self.limit = limit

    def get(self, producer_id: int) -> ProducerEntry | None:
        """Return the entry of this producer, or None."""
        return self.entries.get(producer_id)

    def apply(
        self, producer_id: int, producer_epoch: int, base_sequence: int, base: Offset, end: Offset
    ) -> ProducerEntry | None:
        """Apply one batch of the log, without validation.

        Return the producer's new entry, None for a batch without a producer id.
        """
        if producer_id < 0:
            return None
        last_sequence = (base_sequence + end - base - 1) % SEQUENCE_MODULUS
        known = self.entries.get(producer_id)
        batch = (base_sequence, last_sequence, base, end)
        batches: tuple[tuple[int, int, Offset, Offset], ...] = (batch,)
        if known is not None and known.epoch == producer_epoch:
            batches = (*known.batches[1 - WINDOW :], batch)
        entry = ProducerEntry(producer_epoch, batches)
        self.put(producer_id, entry)
        return entry

    def put(self, producer_id: int, entry: ProducerEntry) -> None:
        """Set the entry of a producer; above the limit, remove the longest idle producer."""
        entries = self.entries
        entries.pop(producer_id, None)
        entries[producer_id] = entry
        if len(entries) > self.limit:
            del entries[next(iter(entries))]

    def snapshot(self) -> tuple[tuple[int, ProducerEntry], ...]:
        """Return all entries, ordered by producer id."""
        return tuple((producer, self.entries[producer]) for producer in sorted(self.entries))


def _by_end(item: tuple[int, ProducerEntry]) -> Offset:
    return item[1].batches[-1][3]
