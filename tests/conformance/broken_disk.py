"""Backends that break the clauses on disk, restarts and bytes, each in one way; see broken.py."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance import checks_disk
from tests.conformance.bench import numbered
from tests.conformance.broken import Broken
from yak_core.batch import Batch
from yak_core.contract.effects import AnswerLog, AppendLog, SendLog
from yak_core.contract.events import DiskDone, DiskOk, Event, NoSpace, Shipped, Started
from yak_core.contract.messages import with_batches, with_records
from yak_core.ids import LogGeneration
from yak_core.manual.backend import ManualBackend
from yak_core.manual.disk import PendingEffect


class CompletesLastFirst(ManualBackend):
    """Clause 6: the newest effect completes first."""

    def perform(self, no_space: bool = False) -> bool:
        self.disk.queue.reverse()
        return super().perform(no_space)


class ReportsTwice(ManualBackend):
    """Clause 6: an effect completes twice."""

    def report_disk(self) -> bool:
        head = self.disk.queue[0] if self.disk.queue else None
        found = super().report_disk()
        if found and head is not None and self.host is not None and head.effect.op == 2:
            self.disk.queue.insert(0, head)
            super().report_disk()
        return found


class ForgetsGenerations(ManualBackend):
    """Clause 6: completions have no generation."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        if isinstance(event, DiskDone):
            event = replace(event, generation=LogGeneration(0))
        super().deliver(event, cause)


class ReadsBehindWrites(ManualBackend):
    """Clause 6: a SendLog waits for all writes."""

    def send_log(self, effect: SendLog) -> None:
        self.disk.issue_read(effect, -1)

    def ship(self) -> bool:
        return not self.disk.queue and super().ship()


class SplitsBatches(ManualBackend):
    """Clause 6: sends only batches that fit, perhaps none."""

    def send_log(self, effect: SendLog) -> None:
        found = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        if sum(batch.size for batch in found) > effect.bytes_max:
            effect = replace(effect, end_max=effect.start)
        super().send_log(effect)


class CountsWrong(ManualBackend):
    """Clause 6: reports one record more than it sent."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        if isinstance(event, DiskDone) and isinstance(event.result, Shipped):
            event = replace(event, result=replace(event.result, end=event.result.end + 1))
        super().deliver(event, cause)


class ShipsWhatIsThereLater(ManualBackend):
    """Clause 6: reads when the message leaves, not when the effect was issued."""

    def send_log(self, effect: SendLog) -> None:
        self.disk.issue_read(effect, -1)

    def ship(self) -> bool:
        if not self.disk.reads:
            return False
        order = self.disk.reads.pop(0).effect
        batches = self.disk.read(order.start, order.end_max, order.bytes_max)
        what = with_batches(order.header, batches)
        self.transit.put(self.node_id, self.starts, order.peer, 0, what, -1)
        result = Shipped(order.end_max, sum(batch.size for batch in batches))
        self.deliver(DiskDone(order.op, order.generation, result))
        return True


class AnswersFromTheMiddle(ManualBackend):
    """Clause 6: omits the batch that holds the start."""

    def answer_log(self, effect: AnswerLog) -> None:
        batches = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        whole = tuple(batch for batch in batches if batch.base_offset >= effect.start)
        self._answer(effect.call, with_records(effect.header, whole))


class AppendsWithoutSpace(ManualBackend):
    """Clause 6: reports NoSpace and appends."""

    def perform(self, no_space: bool = False) -> bool:
        if not super().perform():
            return False
        for at, pending in enumerate(self.disk.queue):
            if no_space and isinstance(pending.effect, AppendLog):
                self.disk.queue[at] = PendingEffect(pending.effect, pending.cause, NoSpace())
        return True


class SwallowsNoSpace(ManualBackend):
    """Clause 6: reports success without space."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        if isinstance(event, DiskDone) and isinstance(event.result, NoSpace):
            event = replace(event, result=DiskOk())
        super().deliver(event, cause)


class FlushesInName(ManualBackend):
    """Clause 8: reports a flush without one."""

    def perform(self, no_space: bool = False) -> bool:
        durable, restorable = self.disk.image.durable_count, self.disk.image.restorable
        found = super().perform(no_space)
        self.disk.image.durable_count, self.disk.image.restorable = durable, restorable
        return found


class LosesSavedValues(ManualBackend):
    """Clause 8: keeps saved values in memory."""

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        super().go_down(reason, keep_unsynced)
        self.disk.image.saved = {}


class KeepsTheUnflushed(ManualBackend):
    """Clause 8: keeps unflushed batches in a crash."""

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        super().go_down(reason, self.disk.image.unsynced)


class KeepsTheSession(ManualBackend):
    """Clause 8: the storage session is the same after a crash of the machine."""

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        session = self.disk.session
        super().go_down(reason, keep_unsynced)
        self.disk.session = session


class VouchesForLostWrites(ManualBackend):
    """Clause 8: the storage session is the same, but unflushed writes are lost."""

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        session = self.disk.session
        super().go_down(reason, 0)
        if keep_unsynced is None:
            self.disk.session = session


class KeepsTimers(ManualBackend):
    """Clause 8: timers survive the process."""

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        timers = self.timers
        super().go_down(reason, keep_unsynced)
        self.timers = timers


class KeepsDiskOrders(ManualBackend):
    """Clause 8: completions of the old start reach the new one."""

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        queue = self.disk.queue
        super().go_down(reason, keep_unsynced)
        self.disk.queue = queue


class LivesForEver(ManualBackend):
    """Clause 8: the start number never changes, so replies to the old start reach the new one."""

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        super().go_down(reason, keep_unsynced)
        self.starts -= 1


class KeepsMail(ManualBackend):
    """Clause 8: messages to a stopped node are delivered after its restart."""

    __slots__ = ("mail",)

    def go_down(self, reason: str, keep_unsynced: int | None = None) -> None:
        super().go_down(reason, keep_unsynced)
        self.mail = True

    def deliver(self, event: Event, cause: int = -1) -> None:
        super().deliver(event, cause)
        if getattr(self, "mail", False):
            self.mail = False
            for node in ("n1", "n2"):
                if node != self.node_id:
                    message = numbered(1)
                    self.transit.put(node, 1, self.node_id, 0, message, -1)


class Reseals(ManualBackend):
    """Clause 9: sends batches with another checksum."""

    def send_log(self, effect: SendLog) -> None:
        self.disk.tail.batches = [_spoilt(batch) for batch in self.disk.tail.batches]
        super().send_log(effect)


class RecoversPayload(ManualBackend):
    """Clause 9: gives record bytes to the node at its start."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        if isinstance(event, Started):
            batches = tuple(self.disk.image.batches)
            event = replace(event, recovered=replace(event.recovered, headers=batches))
        super().deliver(event, cause)


def _spoilt(batch: Batch) -> Batch:
    return replace(batch, crc=batch.crc ^ 1)


BROKEN = (
    Broken(CompletesLastFirst, (checks_disk.writes_complete_once_in_issue_order,)),
    Broken(ReportsTwice, (checks_disk.writes_complete_once_in_issue_order,)),
    Broken(ForgetsGenerations, (checks_disk.writes_complete_once_in_issue_order,)),
    Broken(ReadsBehindWrites, (checks_disk.read_waits_for_no_write,)),
    Broken(SplitsBatches, (checks_disk.ships_whole_batches_within_bounds,)),
    Broken(CountsWrong, (checks_disk.ships_whole_batches_within_bounds,)),
    Broken(ShipsWhatIsThereLater, (checks_disk.shipment_is_of_the_moment_of_the_order,)),
    Broken(AnswersFromTheMiddle, (checks_disk.answer_carries_whole_batches,)),
    Broken(AppendsWithoutSpace, (checks_disk.full_disk_appends_nothing,)),
    Broken(SwallowsNoSpace, (checks_disk.full_disk_appends_nothing,)),
    Broken(FlushesInName, (checks_disk.only_what_was_flushed_survives,)),
    Broken(LosesSavedValues, (checks_disk.only_what_was_flushed_survives,)),
    Broken(KeepsTheUnflushed, (checks_disk.only_what_was_flushed_survives,)),
    Broken(KeepsTheSession, (checks_disk.same_session_means_nothing_is_lost,)),
    Broken(VouchesForLostWrites, (checks_disk.same_session_means_nothing_is_lost,)),
    Broken(KeepsTimers, (checks_disk.nothing_of_the_old_life_arrives,)),
    Broken(KeepsDiskOrders, (checks_disk.nothing_of_the_old_life_arrives,)),
    Broken(LivesForEver, (checks_disk.nothing_of_the_old_life_arrives,)),
    Broken(KeepsMail, (checks_disk.node_that_is_down_takes_nothing_in,)),
    Broken(Reseals, (checks_disk.bytes_stay_as_they_are,)),
    Broken(RecoversPayload, (checks_disk.bytes_stay_as_they_are,)),
)
