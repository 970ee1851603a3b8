"""Checks of what clients are told: confirmations, failures, records (R9, R10, R11).

Must never believe a broker: the committed chain decides.
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
"""(producer id, producer epoch, base sequence) under which a batch was sent."""


class OpenSend:
    """A SendBatch call without an answer, and under what its batch was sent so far."""

    __slots__ = ("batch", "attempts")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.attempts: list[Attempt] = []


class ClientState:
    """One client node's open calls.

    A ProduceRequest does not name its call, so ``by_content`` finds it by the bytes of the batch,
    which a retry keeps. Calls with equal bytes are in the order in which they were made, which is
    the order in which a producer first sends them.
    """

    def __init__(self) -> None:
        self.config: ProducerConfig | None = None
        self.sends: dict[CallId, OpenSend] = {}
        self.by_content: dict[bytes, list[OpenSend]] = {}

    def begin(self, call: CallId, batch: Batch) -> None:
        """The application asks for a send."""
        send = self.sends[call] = OpenSend(batch)
        same = self.by_content.get(batch.data)
        if same is None:
            self.by_content[batch.data] = [send]
        else:
            same.append(send)

    def end(self, call: CallId) -> OpenSend | None:
        """The call is answered: forget it; returns None if it is not open."""
        send = self.sends.pop(call, None)
        if send is not None:
            same = self.by_content[send.batch.data]
            same.remove(send)
            if not same:
                del self.by_content[send.batch.data]
        return send

    def attempted(self, batch: Batch) -> None:
        """The batch was sent, for the first time or again.

        An attempt that is not known belongs to the first call with these bytes that was not sent
        yet, because a producer sends in order and retries under the same sequence. If all were
        sent, the producer has changed the sequence of one of them: each may be the one.
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
    """Follows what brokers answer and what client nodes report."""

    def __init__(self, context: CheckContext, commits: CommitChecks) -> None:
        self.context = context
        self.commits = commits
        self._clients: dict[NodeId, ClientState] = {}
        self._ledger = context.ledger

    # -- at a broker ----------------------------------------------------------------------------

    def on_answer(self, replica: Replica, node: Broker, effect: Answer) -> None:
        """A broker answers a call."""
        result = effect.result
        if type(result) is ProduceResponse:
            request = replica.calls.pop(effect.call, None)
            written = replica.written.pop(effect.call, False)
            if request is None:
                return
            if result.outcome == Outcome.WRITTEN:
                if request.acks == -1:
                    self._check_confirmed(replica.node_id, request.batch, result.base_offset)
            elif result.outcome == Outcome.NOT_WRITTEN and written and not replica.starved:
                self.context.fail(
                    "HonestFailure",
                    replica.node_id,
                    "an answer that leaves the outcome open, for it appended the batch",
                    f"it answered {result.error.name} and that nothing was written",
                )
        elif type(result) is FetchResponse:
            self._check_shown(replica, result.hw)
        elif type(result) is ListOffsetsResponse:
            self._check_shown(replica, result.offset)
            if effect.call == replica.asked_latest and result.error == ErrorCode.NONE:
                self._check_latest(replica, result.offset)

    def on_answer_log(self, replica: Replica, node: Broker, effect: AnswerLog) -> None:
        """A broker answers a fetch with records of its log."""
        if effect.end_max > replica.hw:
            self._unread(
                replica.node_id,
                f"only records below the high watermark {replica.hw} to be shown",
                f"records up to {effect.end_max} were",
            )
        self._check_shown(replica, effect.header.hw)

    def _check_latest(self, replica: Replica, offset: Offset) -> None:
        """What an earlier leader showed may lie anywhere below the start of the epoch (KIP-207)."""
        start = self._ledger.starts.get(replica.epoch)
        if start is not None and offset < start.end:
            self._unread(
                replica.node_id,
                f"no latest offset below {start.end}, where epoch {replica.epoch} starts",
                f"{offset} was shown",
            )

    def _check_shown(self, replica: Replica, offset: Offset) -> None:
        if offset > self._ledger.end:
            self._unread(
                replica.node_id,
                f"no offset above {self._ledger.end}, the end of what is committed, to be shown",
                f"{offset} was",
            )

    # -- at a client ----------------------------------------------------------------------------

    def after_step(self, client: NodeId, event: Event, effects: list[Effect]) -> None:
        """A client node stepped."""
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
                    state.attempted(message.batch)
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
        if result.outcome == Outcome.WRITTEN:
            if state.config is not None and state.config.acks == -1 and result.base_offset >= 0:
                self._check_place(client, result.base_offset, send.batch, sealed=False)
            return
        if result.outcome != Outcome.NOT_WRITTEN:
            return
        for attempt in send.attempts:
            if self._ledger.is_behind(*attempt):
                self.context.fail(
                    "HonestFailure",
                    client,
                    f"a batch reported as not written ({result.error.name}) not to be committed",
                    f"sequence {attempt[2]} of producer {attempt[0]} (epoch {attempt[1]}) is",
                )
            self.commits.failed[attempt] = client

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
                self._unread(
                    client,
                    "committed records only"
                    if committed is None
                    else f"{committed!r}, which is committed there",
                    f"it read {batch!r}",
                )
            if not batch.base_offset <= at < batch.end:
                self._unread(client, f"the record at {at} to be read next", f"it read {batch!r}")
            at = batch.end
        if result.batches and result.next_offset != at:
            self._unread(client, f"position {at} after that", f"it is {result.next_offset}")

    # -- both -----------------------------------------------------------------------------------

    def _check_confirmed(self, who: NodeId, batch: Batch, base: Offset) -> None:
        """Is the confirmed batch committed, at ``base`` unless that is unknown (-1)?"""
        if base >= 0:
            self._check_place(who, base, batch, sealed=True)
        elif not self._ledger.is_behind(
            batch.producer_id, batch.producer_epoch, batch.base_sequence
        ):
            expected = f"{batch!r} to be committed, as confirmed"
            self.context.fail("ConfirmImpliesCommitted", who, expected, "it is not")

    def _check_place(self, who: NodeId, base: Offset, batch: Batch, *, sealed: bool) -> None:
        """Is the batch committed at ``base``? It has a CRC to be compared once it is sealed."""
        committed = self._ledger.at(base)
        if (
            committed is None
            or (committed.base_offset, committed.count) != (base, batch.count)
            or (sealed and committed.crc != batch.crc)
        ):
            self.context.fail(
                "ConfirmImpliesCommitted",
                who,
                f"{batch!r} to be committed at {base}, as it was confirmed"
                if sealed
                else f"{batch.count} records to be committed at {base}, as it reported",
                f"only what is below {self._ledger.end} is committed"
                if committed is None
                else f"{committed!r} is",
            )

    def _unread(self, who: NodeId, expected: str, happened: str) -> None:
        self.context.fail("ReadersSeeCommitted", who, expected, happened)
