"""Checks of the answers that clients receive: acks, failures and records (R9, R10, R11).

Each answer is compared with the committed chain.
"""

from __future__ import annotations

from yak_core.batch import Batch
from yak_core.broker.roles import Broker
from yak_core.config import ProducerConfig
from yak_core.contract.client_calls import PollResult, SendBatch, SendResult
from yak_core.contract.effects import Answer, AnswerLog, Effect, Send
from yak_core.contract.events import Called, Event, Started
from yak_core.contract.messages import (
    FetchResponse,
    ListOffsetsResponse,
    ProduceRequest,
    ProduceResponse,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import CallId, NodeId, Offset
from yak_core.invariants.commit_checks import CommitChecks
from yak_core.invariants.context import CheckContext
from yak_core.invariants.replica import Replica

Attempt = tuple[int, int, int]
"""(producer id, producer epoch, base sequence) that a batch was sent with."""


class PendingSend:
    """An unanswered SendBatch call, and the attempts to send its batch."""

    __slots__ = ("batch", "attempts")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.attempts: list[Attempt] = []


class ClientState:
    """The unanswered SendBatch calls of one client node.

    A ProduceRequest does not name its call. ``by_content`` finds the call by the bytes of the
    batch, which stay the same in a retry. Calls with equal bytes are in the order of the calls,
    which is the order in which a producer first sends them.
    """

    def __init__(self) -> None:
        self.config: ProducerConfig | None = None
        self.sends: dict[CallId, PendingSend] = {}
        self.by_content: dict[bytes, list[PendingSend]] = {}

    def begin(self, call: CallId, batch: Batch) -> None:
        """Record a SendBatch call of the application."""
        send = self.sends[call] = PendingSend(batch)
        same = self.by_content.get(batch.data)
        if same is None:
            self.by_content[batch.data] = [send]
        else:
            same.append(send)

    def end(self, call: CallId) -> PendingSend | None:
        """Remove an answered call and return it; None if the call is not known."""
        send = self.sends.pop(call, None)
        if send is not None:
            same = self.by_content[send.batch.data]
            same.remove(send)
            if not same:
                del self.by_content[send.batch.data]
        return send

    def on_attempt(self, batch: Batch) -> None:
        """Record that a batch was sent, for the first time or as a retry.

        A producer sends in order and retries with the same sequence. So a new attempt belongs to
        the first call with these bytes that was not sent yet. If all these calls were sent before,
        the producer changed the sequence of one of them, and the attempt is added to all.
        """
        attempt = (batch.producer_id, batch.producer_epoch, batch.base_sequence)
        same = self.by_content.get(batch.data, ())
        for send in same:
            if attempt in send.attempts:
                return
        for send in same:
            if not send.attempts:
                send.attempts.append(attempt)
                return
        for send in same:
            send.attempts.append(attempt)


class ClientChecks:
    """Checks the answers of brokers and the results that client nodes report."""

    def __init__(self, context: CheckContext, commits: CommitChecks) -> None:
        self.context = context
        self.commits = commits
        self._clients: dict[NodeId, ClientState] = {}
        #: The clients that have used each producer id; a start of a client counts by itself.
        self._users: dict[int, list[ClientState]] = {}
        self._ledger = context.ledger

    # -- at a broker ----------------------------------------------------------------------------

    def on_answer(self, replica: Replica, node: Broker, effect: Answer) -> None:
        """Check a broker's answer to a call."""
        result = effect.result
        if type(result) is ProduceResponse:
            request = replica.calls.pop(effect.call, None)
            written = replica.written.pop(effect.call, False)
            if request is None:
                return
            if result.outcome == Outcome.WRITTEN:
                if request.acks == -1:
                    self._check_confirmed(replica.node_id, request.batch, result.base_offset)
            elif result.outcome == Outcome.NOT_WRITTEN and written and not replica.disk_full:
                self.context.fail(
                    "HonestFailure",
                    replica.node_id,
                    "outcome WRITTEN or UNKNOWN, because the broker appended the batch",
                    f"the broker answered {result.error.name} with outcome NOT_WRITTEN",
                )
        elif type(result) is FetchResponse:
            self._check_visible(replica, result.hw)
        elif type(result) is ListOffsetsResponse:
            self._check_visible(replica, result.offset)
            if effect.call == replica.latest_offset_call and result.error == ErrorCode.NONE:
                self._check_latest(replica, result.offset)

    def on_answer_log(self, replica: Replica, node: Broker, effect: AnswerLog) -> None:
        """Check a broker's answer to a fetch."""
        if effect.end_max > replica.hw:
            self._fail_readers(
                replica.node_id,
                f"only records below the high watermark {replica.hw}",
                f"the answer may hold records up to {effect.end_max}",
            )
        self._check_visible(replica, effect.header.hw)

    def _check_latest(self, replica: Replica, offset: Offset) -> None:
        """Check that a latest offset is not below the start of the leader epoch (KIP-207).

        An earlier leader may have answered with any offset below that start.
        """
        start = self._ledger.starts.get(replica.epoch)
        if start is not None and offset < start.end:
            self._fail_readers(
                replica.node_id,
                f"a latest offset of at least {start.end}, the start of epoch {replica.epoch}",
                f"the broker answered {offset}",
            )

    def _check_visible(self, replica: Replica, offset: Offset) -> None:
        if offset > self._ledger.end:
            self._fail_readers(
                replica.node_id,
                f"an offset of at most {self._ledger.end}, the end of the committed records",
                f"the broker answered {offset}",
            )

    # -- at a client ----------------------------------------------------------------------------

    def after_step(self, client: NodeId, event: Event, effects: list[Effect]) -> None:
        """Check a step of a client node."""
        state = self._clients.get(client)
        if state is None:
            state = self._clients[client] = ClientState()
        if type(event) is Called:
            if type(event.request) is SendBatch:
                state.begin(event.call, event.request.batch)
        elif type(event) is Started:
            state = self._clients[client] = ClientState()
            if isinstance(event.config, ProducerConfig):
                state.config = event.config
        for effect in effects:
            if type(effect) is Send:
                message = effect.message
                if type(message) is ProduceRequest and message.batch.producer_id >= 0:
                    state.on_attempt(message.batch)
                    users = self._users.setdefault(message.batch.producer_id, [])
                    if state not in users:
                        users.append(state)
            elif type(effect) is Answer:
                if type(effect.result) is SendResult:
                    self._on_send_result(client, state, effect.call, effect.result)
                elif type(effect.result) is PollResult:
                    self._on_poll_result(client, state, effect.result)

    def _on_send_result(
        self, client: NodeId, state: ClientState, call: CallId, result: SendResult
    ) -> None:
        send = state.end(call)
        if send is None:
            return
        if result.error == ErrorCode.INVALID_PRODUCER_EPOCH:
            self._check_fenced(client, state)
        if result.outcome == Outcome.WRITTEN:
            if state.config is not None and state.config.acks == -1 and result.base_offset >= 0:
                self._check_committed(client, result.base_offset, send.batch, sealed=False)
            return
        if result.outcome != Outcome.NOT_WRITTEN:
            return
        for attempt in send.attempts:
            if self._ledger.is_committed(*attempt):
                self.context.fail(
                    "HonestFailure",
                    client,
                    f"no commit of a batch reported as not written ({result.error.name})",
                    f"sequence {attempt[2]} of producer {attempt[0]} (epoch {attempt[1]}) is "
                    "committed",
                )
            self.commits.failed[attempt] = client

    def _check_fenced(self, client: NodeId, state: ClientState) -> None:
        """Check that another producer has used an id of this one, so it may have a newer epoch."""
        used = [number for number, users in self._users.items() if state in users]
        if all(len(self._users[number]) == 1 for number in used):
            self.context.fail(
                "FencedByAnother",
                client,
                "no fenced batch, because no other producer uses the producer id",
                f"a batch of producer {', '.join(map(str, used))} was fenced",
            )

    def _on_poll_result(self, client: NodeId, state: ClientState, result: PollResult) -> None:
        if result.error != ErrorCode.NONE:
            return
        position = result.position
        at = position
        for batch in result.batches:
            committed = self._ledger.at(batch.base_offset)
            if (
                committed is None
                or committed.base_offset != batch.base_offset
                or (committed.epoch, committed.crc) != (batch.epoch, batch.crc)
            ):
                self._fail_readers(
                    client,
                    "only committed records"
                    if committed is None
                    else f"the committed {committed!r}",
                    f"the consumer read {batch!r}",
                )
            if not batch.base_offset <= at < batch.end:
                self._fail_readers(client, f"the record at {at}", f"the consumer read {batch!r}")
            at = batch.end
        if result.batches and result.next_offset != at:
            self._fail_readers(
                client,
                f"position {at} after the last batch",
                f"the position is {result.next_offset}",
            )

    # -- both -----------------------------------------------------------------------------------

    def _check_confirmed(self, node: NodeId, batch: Batch, base: Offset) -> None:
        """Check that an acknowledged batch is committed; ``base`` is its offset, -1 if unknown."""
        if base >= 0:
            self._check_committed(node, base, batch, sealed=True)
        elif not self._ledger.is_committed(
            batch.producer_id, batch.producer_epoch, batch.base_sequence
        ):
            expected = f"a commit of the acknowledged {batch!r}"
            self.context.fail("ConfirmImpliesCommitted", node, expected, "it is not committed")

    def _check_committed(self, node: NodeId, base: Offset, batch: Batch, *, sealed: bool) -> None:
        """Check that the batch is committed at ``base``; CRCs are compared if it is ``sealed``."""
        committed = self._ledger.at(base)
        if (
            committed is None
            or (committed.base_offset, committed.count) != (base, batch.count)
            or (sealed and committed.crc != batch.crc)
        ):
            self.context.fail(
                "ConfirmImpliesCommitted",
                node,
                f"a commit of the acknowledged {batch!r} at offset {base}"
                if sealed
                else f"a commit of the {batch.count} acknowledged records at offset {base}",
                f"only the records below {self._ledger.end} are committed"
                if committed is None
                else f"{committed!r} is committed there",
            )

    def _fail_readers(self, node: NodeId, expected: str, happened: str) -> None:
        self.context.fail("ReadersSeeCommitted", node, expected, happened)
