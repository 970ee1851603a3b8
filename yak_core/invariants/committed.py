"""The committed chain and the history of leader epochs, as the checkers know them.

This is ghost state: no node sees it. The committed chain only grows: every record that was ever
below the high watermark of a leader is committed. Only the leader of an epoch appends
batches of that epoch, so the batch at a given (epoch, index) never changes.
"""

from __future__ import annotations

from bisect import bisect_right

from yak_core.batch import Batch
from yak_core.ids import Epoch, NodeId, Offset
from yak_core.invariants.shadow_log import ShadowLog
from yak_core.log.producers import SEQUENCE_MODULUS
from yak_core.value import value


@value
class EpochStart:
    """The start of a leader epoch: its leader, and the log that the leader was elected with.

    ``node_start`` is the start number of the leader. ``count``, ``end`` and ``link`` are the
    number of batches, the end offset and the last link of the log.
    """

    node: NodeId
    node_start: int
    count: int
    end: Offset
    link: int
    run_epochs: tuple[Epoch, ...]
    run_firsts: tuple[int, ...]

    def epoch_at(self, index: int) -> Epoch:
        """Return the epoch of the leader's batch at ``index``, which is below ``count``."""
        return self.run_epochs[bisect_right(self.run_firsts, index) - 1]


class EpochRun:
    """The links of the batches of one epoch; the first one has the log index ``first``."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.links: list[int] = []


class Ledger:
    """The committed batches, and the start of each leader epoch."""

    def __init__(self) -> None:
        #: The committed batches.
        self.batches: list[Batch] = []
        #: End offset of each committed batch.
        self.ends: list[Offset] = []
        #: Link after each committed batch.
        self.links: list[int] = []
        #: Next sequence by producer id and producer epoch.
        self.sequences: dict[tuple[int, int], int] = {}
        #: Highest committed producer epoch by producer id.
        self.producer_epochs: dict[int, int] = {}
        #: The start of each leader epoch.
        self.starts: dict[Epoch, EpochStart] = {}
        #: The batches that the leader of each epoch appended in it.
        self.runs: dict[Epoch, EpochRun] = {}

    @property
    def end(self) -> Offset:
        """The true high watermark."""
        return self.ends[-1] if self.ends else 0

    def begin_epoch(
        self, epoch: Epoch, node: NodeId, node_start: int, log: ShadowLog
    ) -> EpochStart:
        """Record the start of ``epoch``, unless it is known, and return it."""
        start = self.starts.get(epoch)
        if start is None:
            start = EpochStart(
                node,
                node_start,
                len(log.links),
                log.leo,
                log.link_at(len(log.links)),
                tuple(log.run_epochs),
                tuple(log.run_firsts),
            )
            self.starts[epoch] = start
            self.runs[epoch] = EpochRun(start.count)
        return start

    def may_hold(self, epoch: Epoch, index: int, link: int, may_write: bool) -> bool:
        """Return whether a log may hold the batch of ``epoch`` with ``link`` at ``index``.

        It may if the leader of the epoch appended this batch there. With ``may_write`` the caller
        is that leader, and a batch at the end of the epoch is recorded.
        """
        run = self.runs.get(epoch)
        if run is None:
            return False
        at = index - run.first
        links = run.links
        if 0 <= at < len(links):
            return links[at] == link
        if may_write and at == len(links):
            links.append(link)
            return True
        return False

    def leader_has(self, epoch: Epoch, index: int, batch_epoch: Epoch) -> bool:
        """Return whether the leader of ``epoch`` holds a batch of ``batch_epoch`` at ``index``."""
        start = self.starts.get(epoch)
        if start is None:
            return False
        if index < start.count:
            return start.epoch_at(index) == batch_epoch
        return batch_epoch == epoch

    def next_sequence(self, producer_id: int, producer_epoch: int) -> int:
        """Return the sequence that must be committed next in this producer epoch."""
        return self.sequences.get((producer_id, producer_epoch), 0)

    def is_next(self, batch: Batch) -> bool:
        """Return whether the batch is the next one to be committed for its producer."""
        producer, epoch = batch.producer_id, batch.producer_epoch
        return (
            self.sequences.get((producer, epoch), 0) == batch.base_sequence
            and self.producer_epochs.get(producer, 0) <= epoch
        )

    def is_committed(self, producer_id: int, producer_epoch: int, sequence: int) -> bool:
        """Return whether the record with this sequence is already committed."""
        expected = self.next_sequence(producer_id, producer_epoch)
        distance = (expected - sequence) % SEQUENCE_MODULUS
        return 0 < distance < SEQUENCE_MODULUS // 2

    def commit(self, batch: Batch, link: int) -> None:
        """Append the batch to the committed chain."""
        self.batches.append(batch)
        self.ends.append(batch.base_offset + batch.count)
        self.links.append(link)
        producer = batch.producer_id
        if producer >= 0:
            self.sequences[producer, batch.producer_epoch] = (
                batch.base_sequence + batch.count
            ) % SEQUENCE_MODULUS
            self.producer_epochs[producer] = batch.producer_epoch

    def at(self, offset: Offset) -> Batch | None:
        """Return the committed batch that holds ``offset``; None if it is not committed."""
        index = bisect_right(self.ends, offset)
        return self.batches[index] if offset >= 0 and index < len(self.batches) else None
