"""The identity of an idempotent producer: producer id, producer epoch and the next sequence."""

from __future__ import annotations

from typing import Final

from yak_core.batch import Batch, with_producer
from yak_core.log.producers import successor

PRODUCER_EPOCH_MAX: Final = (1 << 15) - 1
"""Largest producer epoch: the batch header has 16 bits, with a sign, for it."""

PRODUCER_ID_BITS: Final = 62


def producer_id_of(nonce: int, counter: int) -> int:
    """Return the producer id number ``counter`` of a start, from 0.

    It has 62 bits: random bits of the nonce are unique without an id service. The field in the
    batch header has 64 bits and must not be negative.
    """
    return ((nonce >> 66) + counter) % (1 << PRODUCER_ID_BITS)


class ProducerSession:
    """The numbers that the next batch gets; all are -1 for a producer without idempotence."""

    __slots__ = ("epoch", "idempotent", "ids_used", "next_sequence", "nonce", "producer_id")

    def __init__(self, nonce: int, *, idempotent: bool) -> None:
        self.nonce = nonce
        self.idempotent = idempotent
        #: Number of producer ids of this start whose epochs are used up.
        self.ids_used = 0
        self.producer_id = producer_id_of(nonce, 0) if idempotent else -1
        #: Producer epoch, 0 to 32,767.
        self.epoch = 0 if idempotent else -1
        self.next_sequence = 0

    def stamp(self, batch: Batch) -> Batch:
        """Return the handle of the batch with the next sequence."""
        sequence = self.next_sequence
        self.next_sequence = successor(sequence, batch.count)
        return with_producer(batch, self.producer_id, self.epoch, sequence)

    def start_epoch(self) -> None:
        """Start the next producer epoch at sequence 0; after the last one, with a new id."""
        assert self.idempotent, "a producer without idempotence has no producer epoch"
        self.next_sequence = 0
        if self.epoch < PRODUCER_EPOCH_MAX:
            self.epoch += 1
        else:
            self.ids_used += 1
            self.producer_id = producer_id_of(self.nonce, self.ids_used)
            self.epoch = 0
