"""The idempotence table: what each producer appended last; must never hold payload.

It is a pure fold over the log, so every replica has it and a new leader can recognise retries
(KIP-98). Five batches a producer are remembered, because five may be in flight (KAFKA-5494).
Only a leader validates; followers and recovery apply (KAFKA-6003). Beyond ``limit`` producers the
one that has not written for longest is forgotten; by the log's order, so all replicas agree.
"""

from __future__ import annotations

from yak_core.ids import Offset
from yak_core.value import value

SEQUENCE_MODULUS = 1 << 31
WINDOW = 5
PRODUCERS_MAX = 10_000


@value
class ProducerEntry:
    """One producer id: its epoch and its last batches.

    ``batches``: (first sequence, last sequence, base offset, end offset), oldest first, at most 5.
    """

    epoch: int
    batches: tuple[tuple[int, int, Offset, Offset], ...]

    @property
    def last_sequence(self) -> int:
        """Sequence of the newest record."""
        return self.batches[-1][1]


def successor(sequence: int, count: int = 1) -> int:
    """``count`` sequences further on the ring of 2^31 (KAFKA-5283)."""
    return (sequence + count) % SEQUENCE_MODULUS


class ProducerTable:
    """Producer id to entry, the longest idle first; entries are immutable, so a copy is cheap."""

    __slots__ = ("entries", "limit")

    def __init__(
        self, entries: tuple[tuple[int, ProducerEntry], ...] = (), limit: int = PRODUCERS_MAX
    ) -> None:
        self.entries: dict[int, ProducerEntry] = dict(sorted(entries, key=_by_end))
        self.limit = limit

    def get(self, producer_id: int) -> ProducerEntry | None:
        """What is known of this producer, if anything."""
        return self.entries.get(producer_id)

    def apply(
        self, producer_id: int, producer_epoch: int, base_sequence: int, base: Offset, end: Offset
    ) -> ProducerEntry | None:
        """Fold one batch of the log in, without validating it.

        Returns what is known of its producer from now on, None for a batch without one.
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
        """Its producer has just appended; beyond the limit the longest idle one is forgotten."""
        entries = self.entries
        entries.pop(producer_id, None)
        entries[producer_id] = entry
        if len(entries) > self.limit:
            del entries[next(iter(entries))]

    def snapshot(self) -> tuple[tuple[int, ProducerEntry], ...]:
        """All entries by producer id."""
        return tuple((producer, self.entries[producer]) for producer in sorted(self.entries))


def _by_end(item: tuple[int, ProducerEntry]) -> Offset:
    return item[1].batches[-1][3]
