"""What a broker counts while it runs.

Counters are plain numbers, and a page is made of them only when Prometheus asks: an addition is
much cheaper than a counter of the library, which has a lock. Histograms are those of the library;
the hot path uses one for each batch, not for each record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

from yak_core.contract.client_calls import ClientResult
from yak_core.contract.messages import (
    DescribeRequest,
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    PeerMessage,
    ProduceRequest,
    ProduceResponse,
    Replicate,
    Request,
    Response,
)
from yak_core.contract.notes import (
    BecameFollower,
    BecameLeader,
    Campaigned,
    DuplicateRecognised,
    FencedPeer,
    IgnoredMessage,
    IsrExpanded,
    IsrShrunk,
    Note,
    ProposalEnded,
    Registered,
    SteppedDown,
    Truncated,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import Micros
from yak_net.metrics import declared
from yak_net.metrics.declared import Metric
from yak_net.metrics.elections import PHASES, Elections
from yak_net.metrics.journal import Journal
from yak_net.runtime.backend import OnAnswer

ALL: Final = -1
"""acks=all."""
BUCKETS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the histograms in seconds."""

REQUESTS: Final[dict[type[Request], str]] = {
    ProduceRequest: "Produce",
    FetchRequest: "Fetch",
    ListOffsetsRequest: "ListOffsets",
    DescribeRequest: "Describe",
}
"""Names of requests, as Kafka has them where it has the request."""

STORE_CALLS: Final = ("read", "cas", "renew", "publish")
"""Names of the calls to the metadata store."""

COUNTED: Final = frozenset(
    {
        *(BecameFollower, BecameLeader, Campaigned, DuplicateRecognised, FencedPeer),
        *(IgnoredMessage, IsrExpanded, IsrShrunk, ProposalEnded, Registered, SteppedDown),
        Truncated,
    }
)
"""Notes that are counted. The others are too frequent, such as a higher HW, or repeat these."""


def histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    """Return the histogram of a declared metric."""
    return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=BUCKETS)


class Traffic:
    """Messages, records and bytes in one direction."""

    __slots__ = ("messages", "records", "bytes")

    def __init__(self) -> None:
        self.messages = self.records = self.bytes = 0

    def add(self, message: PeerMessage) -> None:
        """Count a message, and its batches if it has any."""
        self.messages += 1
        if type(message) is Replicate:
            for batch in message.batches:
                self.records += batch.count
                self.bytes += batch.size


class Counts:
    """The counters and histograms of one broker, in a registry of its own."""

    def __init__(self, node: str, now: Callable[[], Micros], wall_ms: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self.elections = Elections(node, now, wall_ms, self._on_phase)
        self.journal = Journal(node, wall_ms)
        self.sent, self.received = Traffic(), Traffic()
        #: By request, and by request and error.
        self.requests: Counter[str] = Counter(dict.fromkeys(REQUESTS.values(), 0))
        self.answers: Counter[tuple[str, ErrorCode]] = Counter()
        self.produced_records = self.produced_bytes = 0
        self.appended_records = self.appended_bytes = 0
        self.fetched_records = self.fetched_bytes = 0
        self.unknown_outcomes = 0
        self.campaigns = self.elections_won = self.leader_changes = self.step_downs = 0
        self.truncations = self.truncated_records = 0
        self.isr_shrinks = self.isr_expands = 0
        self.fenced = self.duplicates = 0
        self.proposals: Counter[tuple[str, str]] = Counter()
        self.ignored: Counter[str] = Counter()
        self.store_failures: Counter[str] = Counter(dict.fromkeys(STORE_CALLS, 0))
        self.http_requests: Counter[tuple[str, str, str]] = Counter()
        failover = histogram(declared.FAILOVER, registry)
        self._failover = {phase: failover.labels(phase) for phase in PHASES}
        self.flush_s = histogram(declared.FLUSH_S, registry)
        self.write_s = histogram(declared.WRITE_S, registry)
        self.store_s = histogram(declared.STORE_S, registry)
        self.http_s = histogram(declared.HTTP_S, registry)
        request_s = histogram(declared.REQUEST_S, registry)
        self._request_s = {kind: request_s.labels(name) for kind, name in REQUESTS.items()}

    # -- requests -------------------------------------------------------------------------------

    def measured(self, request: Request, on_answer: OnAnswer) -> OnAnswer:
        """Count a request; return ``on_answer`` so that it also counts the answer."""
        kind = type(request)
        name = REQUESTS[kind]
        self.requests[name] += 1
        began = perf_counter()

        def answered(result: Response | ClientResult) -> None:
            self._request_s[kind].observe(perf_counter() - began)
            if type(result) is ProduceResponse:
                self._on_produced(request, result)  # type: ignore[arg-type]
            elif type(result) is FetchResponse:
                self._on_fetched(result)
            elif type(result) is ListOffsetsResponse:
                self.answers[name, result.error] += 1
            else:
                self.answers[name, ErrorCode.NONE] += 1
            on_answer(result)

        return answered

    def _on_produced(self, request: ProduceRequest, result: ProduceResponse) -> None:
        self.answers["Produce", result.error] += 1
        outcome = result.outcome
        if outcome is Outcome.NOT_WRITTEN:
            return
        batch = request.batch
        self.appended_records += batch.count
        self.appended_bytes += batch.size
        if outcome is Outcome.UNKNOWN:
            self.unknown_outcomes += 1
        else:
            self.produced_records += batch.count
            self.produced_bytes += batch.size
            if self.elections.awaits_ack is not None and request.acks == ALL:
                self.elections.on_first_ack()

    def _on_fetched(self, result: FetchResponse) -> None:
        self.answers["Fetch", result.error] += 1
        for batch in result.batches:
            self.fetched_records += batch.count
            self.fetched_bytes += batch.size

    # -- notes ----------------------------------------------------------------------------------

    def on_note(self, note: Note, silent_us: Callable[[], Micros | None]) -> None:
        """Count a note of the node.

        ``silent_us`` returns the time since the last message of the leader.
        """
        if type(note) not in COUNTED:
            return
        self.elections.on_note(note, silent_us)
        self.journal.on_note(note)
        match note:
            case Campaigned():
                self.campaigns += 1
            case BecameLeader():
                self.elections_won += 1
                self.leader_changes += 1
            case BecameFollower(leader=leader):
                self.leader_changes += leader is not None
            case SteppedDown():
                self.step_downs += 1
            case Truncated(end_before=before, end=end):
                self.truncations += 1
                self.truncated_records += before - end
            case IsrShrunk():
                self.isr_shrinks += 1
            case IsrExpanded():
                self.isr_expands += 1
            case ProposalEnded(kind=kind, result=result):
                self.proposals[kind.value, result.value] += 1
            case FencedPeer():
                self.fenced += 1
            case IgnoredMessage(reason=reason):
                self.ignored[reason.value] += 1
            case DuplicateRecognised():
                self.duplicates += 1

    def _on_phase(self, phase: str, seconds: float) -> None:
        self._failover[phase].observe(seconds)
