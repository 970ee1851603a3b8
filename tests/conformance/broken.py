"""Backends that break the contract, each in one way, to be rejected by the checks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.conformance import checks, checks_client, checks_disk
from tests.conformance.bench import numbered
from tests.conformance.checks import Check
from yak_core.contract.effects import AppendLog, CancelTimer, FlushLog, Send, SendLog, SetTimer
from yak_core.contract.events import DiskDone, DiskOk, Event, MetaReply, NotSent, TimerFired
from yak_core.ids import Micros
from yak_core.manual.backend import ManualBackend
from yak_core.metadata.store_calls import NO_VALUE, Refusal, Refused, Unknown


@dataclass(frozen=True)
class Broken:
    """A backend and the checks that must reject it."""

    backend: type[ManualBackend]
    rejected_by: tuple[Check, ...]


class StepsPastItsHost(ManualBackend):
    """Clause 1: calls the node itself at a completion."""

    def flush_log(self, effect: FlushLog) -> None:
        assert self.host is not None
        self.host.node.step(self.clock, DiskDone(effect.op, effect.generation, DiskOk()))


class StepsAtOnce(ManualBackend):
    """Clause 2: completes a flush at once, among the effects of its step."""

    def flush_log(self, effect: FlushLog) -> None:
        assert self.host is not None
        self.host._stepping = False  # So that the host does not queue it.
        self.host.deliver(DiskDone(effect.op, effect.generation, DiskOk()))


class ReadsLast(ManualBackend):
    """Clause 2: starts a SendLog at the next message, after later effects."""

    def send_log(self, effect: SendLog) -> None:
        late = [read.effect for read in self.disk.reads]
        self.disk.reads = []
        for order in (*late, effect):
            self.disk.issue_read(order, -1)
        if late:
            self.ship()
            self.ship()

    def append_log(self, effect: AppendLog) -> None:
        super().append_log(effect)
        for read in self.disk.reads:
            batches = self.disk.read(read.effect.start, read.effect.end_max, read.effect.bytes_max)
            self.disk.reads = [replace(read, batches=batches)]


class ClockJumpsBack(ManualBackend):
    """Clause 3: its clock is set back by a tenth of a second every second."""

    def now(self) -> Micros:
        return self.clock - 2 * (self.clock % 7_000)


class ClockOfFractions(ManualBackend):
    """Clause 3: returns the time in half microseconds."""

    def now(self) -> Micros:
        return self.clock + 0.5  # type: ignore[return-value]


class FiresEarly(ManualBackend):
    """Clause 4: rounds a timer down to tens of milliseconds."""

    def set_timer(self, effect: SetTimer) -> None:
        super().set_timer(replace(effect, lo_us=effect.lo_us // 50_000 * 50_000))


class KeepsReplacedTimers(ManualBackend):
    """Clause 4: a replaced timer fires as well."""

    def set_timer(self, effect: SetTimer) -> None:
        known = self.timers.get(effect.key)
        super().set_timer(effect)
        if known is not None:
            self.timers[f"{effect.key} again"] = known

    def deliver(self, event: Event, cause: int = -1) -> None:
        if isinstance(event, TimerFired):
            event = TimerFired(event.key.removesuffix(" again"))
        super().deliver(event, cause)


class IgnoresReplacements(ManualBackend):
    """Clause 4: a running timer is not replaced."""

    def set_timer(self, effect: SetTimer) -> None:
        if effect.key not in self.timers:
            super().set_timer(effect)


class NeverCancels(ManualBackend):
    """Clause 4: a cancelled timer fires."""

    def cancel_timer(self, effect: CancelTimer) -> None:
        """Do nothing."""


class FiresTwice(ManualBackend):
    """Clause 4: a timer fires twice."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        super().deliver(event, cause)
        if isinstance(event, TimerFired) and event.key not in self.timers:
            super().deliver(event, cause)


class ChangesMessages(ManualBackend):
    """Clause 5: one message in ten is changed."""

    def send(self, effect: Send) -> None:
        number = getattr(effect.message, "match", 0)
        if number % 10 == 7:
            effect = Send(effect.dst, numbered(number + 5_000))
        super().send(effect)


class LosesUnderAFairSky(ManualBackend):
    """Clause 5: one message in ten is lost in a fair network."""

    def send(self, effect: Send) -> None:
        if getattr(effect.message, "match", 0) % 10 != 7:
            super().send(effect)


class ReportsNothing(ManualBackend):
    """Clause 5: a request without a connection is lost silently."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        if not isinstance(event, NotSent):
            super().deliver(event, cause)


class ReportsWhatItSends(ManualBackend):
    """Clause 5: one request in ten is reported as never sent and is delivered."""

    def send(self, effect: Send) -> None:
        super().send(effect)
        number = getattr(effect.message, "correlation", 0)
        if number % 10 == 1:
            self.deliver(NotSent(number))


class AnswersCallsTwice(ManualBackend):
    """Clause 7: the store's reply arrives twice."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        super().deliver(event, cause)
        if isinstance(event, MetaReply) and not isinstance(event.outcome, Unknown):
            super().deliver(event, cause)


class TakesSilenceForNo(ManualBackend):
    """Clause 7: a call without an answer is reported as refused."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        if isinstance(event, MetaReply) and isinstance(event.outcome, Unknown):
            event = MetaReply(event.call, Refused(Refusal.STAMP, NO_VALUE))
        super().deliver(event, cause)


class NeverAnswersWhatIsLost(ManualBackend):
    """Clause 7: a call whose reply is lost never ends."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        if not (isinstance(event, MetaReply) and isinstance(event.outcome, Unknown)):
            super().deliver(event, cause)


class SwallowsExceptions(ManualBackend):
    """Clause 10: the exception of a step is swallowed."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        try:
            super().deliver(event, cause)
        except (checks.Unheard, AssertionError):
            self.hold_reads = False


class GoesOnAfterAFailure(ManualBackend):
    """Clause 10: a node keeps running after an exception."""

    def deliver(self, event: Event, cause: int = -1) -> None:
        host = self.host
        try:
            super().deliver(event, cause)
        finally:
            if self.host is None and host is not None:
                self.host = host
                host.alive = True


FAILURES = (
    checks.exception_of_a_step_halts_and_is_heard,
    checks.exception_of_a_backend_halts_and_is_heard,
    checks.exception_of_an_observer_halts_and_is_heard,
)

BROKEN = (
    Broken(StepsPastItsHost, (checks.one_step_at_a_time,)),
    Broken(StepsAtOnce, (checks.one_step_at_a_time, checks.effects_start_before_the_next_event)),
    Broken(ReadsLast, (checks_disk.order_of_effects_decides_what_is_read,)),
    Broken(ClockJumpsBack, (checks.time_is_whole_and_never_goes_back,)),
    Broken(ClockOfFractions, (checks.time_is_whole_and_never_goes_back,)),
    Broken(FiresEarly, (checks.timer_fires_once_and_never_early,)),
    Broken(FiresTwice, (checks.timer_fires_once_and_never_early,)),
    Broken(KeepsReplacedTimers, (checks.replaced_timer_does_not_fire,)),
    Broken(IgnoresReplacements, (checks.replaced_timer_does_not_fire,)),
    Broken(NeverCancels, (checks.cancelled_timer_does_not_fire,)),
    Broken(
        ChangesMessages,
        (checks.fair_network_delivers_what_was_sent, checks.stormy_network_invents_nothing),
    ),
    Broken(LosesUnderAFairSky, (checks.fair_network_delivers_what_was_sent,)),
    Broken(ReportsNothing, (checks_client.request_without_a_connection_is_reported,)),
    Broken(
        ReportsWhatItSends,
        (
            checks_client.request_without_a_connection_is_reported,
            checks_client.reported_request_is_never_delivered,
        ),
    ),
    Broken(AnswersCallsTwice, (checks.store_answers_each_call_once,)),
    Broken(
        TakesSilenceForNo,
        (
            checks.store_out_of_reach_answers_unknown,
            checks.lost_reply_is_unknown_and_may_have_happened,
        ),
    ),
    Broken(
        NeverAnswersWhatIsLost,
        (
            checks.store_out_of_reach_answers_unknown,
            checks.lost_reply_is_unknown_and_may_have_happened,
        ),
    ),
    Broken(SwallowsExceptions, FAILURES),
    Broken(GoesOnAfterAFailure, FAILURES),
)
