"""Three brokers, three producers and a consumer in the manual world, with invariants.

``moves.py`` and ``faults.py`` have the moves of a walk. This module has their parts, the list of
the moves made, and the counts of the situations that a walk reached.
"""

from __future__ import annotations

from dataclasses import replace

from tests.property.watch import Counts, Tally, WatchedBackend, WatchedStore
from yak_core.batch import Batch, Builder, seal
from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.clients.consumer import build_consumer
from yak_core.clients.producer import build_producer
from yak_core.config import MS, BrokerConfig, ConsumerConfig, FlushMode, ProducerConfig
from yak_core.contract.client_calls import Poll, PollResult, SendBatch
from yak_core.contract.messages import ProduceRequest, Replicate, ReplicateAck
from yak_core.fork import fork_of
from yak_core.ids import BrokerEpoch, Epoch, NodeId
from yak_core.invariants import Invariants
from yak_core.manual.backend import MetaCall
from yak_core.manual.run import advance, settle
from yak_core.manual.world import Manual
from yak_core.metadata.store_calls import Cas
from yak_core.model.disk import DiskImage
from yak_core.rules import Rules

NODES: tuple[NodeId, ...] = ("n1", "n2", "n3")
PRODUCERS: tuple[NodeId, ...] = ("p1", "p2", "p3")
"""The third one uses acks=1 and is not idempotent."""
READER: NodeId = "c1"

RENEWAL = 300 * MS
LEASE = 900 * MS
LAG = 1_000 * MS


class Cluster:
    """The world of one walk. ``moves_made`` has one line for each move."""

    def __init__(
        self, rules: Rules | None = None, *, flush: FlushMode = "batch", min_isr: int = 2
    ) -> None:
        self.flush = flush
        self.min_isr = min_isr
        self.copies: dict[NodeId, tuple[BrokerEpoch, DiskImage]] = {}
        self.counts = Counts()
        self.invariants = Invariants(NODES, check_every=1)
        self.world = Manual(
            observers=(self.invariants, Tally(self.counts)), backend_type=WatchedBackend
        )
        self.world.store = WatchedStore(self.invariants)
        self.moves_made: list[str] = [f"flush={flush} min_isr={min_isr}"]
        self.values = 0
        self.sent: dict[int, NodeId] = {}
        config = BrokerConfig(
            replicas=NODES,
            min_isr=min_isr,
            flush=flush,
            lease_renew_us=RENEWAL,
            lease_us=LEASE,
            replica_lag_us=LAG,
        )
        client = ProducerConfig(
            brokers=NODES,
            request_timeout_us=1_000 * MS,
            delivery_timeout_us=4_000 * MS,
        )
        reader = ConsumerConfig(NODES, request_timeout_us=1_000 * MS, fetch_wait_us=0)
        kept = Rules() if rules is None else rules
        for node_id in NODES:
            self.world.add(node_id, config, build_broker(kept))
        for node_id in PRODUCERS[:2]:
            self.world.add(node_id, client, build_producer)
        hasty = replace(client, acks=1, idempotent=False)
        self.world.add(PRODUCERS[2], hasty, build_producer)
        self.world.add(READER, reader, build_consumer)
        for place in self.world.nodes.values():
            assert isinstance(place, WatchedBackend)
            broker = place.node_id in NODES
            place.counts = self.counts if broker else None
            place.invariants = self.invariants if broker else None

    # -- openings -------------------------------------------------------------------------------

    def begin(self) -> None:
        """All brokers are in the ISR and follow n1 in epoch 1."""
        for node_id in (*NODES, *PRODUCERS, READER):
            self.world.start(node_id)
            settle(self.world)
        self.campaign("n1")
        settle(self.world)
        for node_id in ("n2", "n3", "n1"):
            self.fire(node_id, "lease-renewal")
            settle(self.world)
        self.fire("n1", "heartbeat")
        settle(self.world)
        for node_id in NODES:
            start = self.broker(node_id).broker_epoch
            self.copies[node_id] = (start, fork_of(self.world.nodes[node_id].disk.image))

    # -- questions ------------------------------------------------------------------------------

    def up(self, node_id: NodeId) -> bool:
        return self.world.is_up(node_id)

    def broker(self, node_id: NodeId) -> Broker:
        node = self.world.host(node_id).node
        assert isinstance(node, Broker)
        return node

    def leads(self, node_id: NodeId) -> bool:
        return self.up(node_id) and self.broker(node_id).leading is not None

    def leader(self) -> NodeId:
        """Return the running leader of the highest epoch, n1 without one."""
        best, found = -1, "n1"
        for node_id in NODES:
            if self.leads(node_id) and self.broker(node_id).epoch > best:
                best, found = self.broker(node_id).epoch, node_id
        return found

    def followers(self) -> tuple[NodeId, ...]:
        leader = self.leader()
        return tuple(node_id for node_id in NODES if node_id != leader)

    # -- the wire -------------------------------------------------------------------------------

    def deliver(self, number: int) -> str:
        flight = self.world.transit.flights[number]
        outcome = f"deliver {flight.src} -> {flight.dst} {_words(flight.message)}"
        self.world.deliver(number)
        return outcome

    def run_link(self, src: NodeId, dst: NodeId) -> int:
        """Deliver the messages in flight from ``src`` to ``dst``, oldest first."""
        flights = self.world.transit.flights
        found = [n for n, f in flights.items() if (f.src, f.dst) == (src, dst)]
        for number in found:
            self.world.deliver(number)
        return len(found)

    # -- one node -------------------------------------------------------------------------------

    def fire(self, node_id: NodeId, key: str) -> bool:
        """Fire the timer if it is set."""
        if not self.up(node_id) or key not in self.world.nodes[node_id].timers:
            return False
        self.world.fire(node_id, key)
        return True

    def run_disk(self, node_id: NodeId) -> int:
        """Complete every disk effect of the node."""
        place = self.world.nodes[node_id]
        done = 0
        while place.host is not None and place.disk.queue:
            self.world.disk_complete(node_id)
            done += 1
        return done

    def calls_of(self, node_id: NodeId) -> list[MetaCall]:
        return [call for call in self.world.transit.calls.values() if call.node == node_id]

    def run_store(self, node_id: NodeId) -> int:
        """Complete every metadata call of the node."""
        calls = self.calls_of(node_id)
        for call in calls:
            if call.number in self.world.transit.calls:
                self.world.meta_complete(call.number)
        return len(calls)

    def run_alone(self, node_id: NodeId) -> None:
        """Run the node's disk and store calls until both are idle."""
        while self.run_disk(node_id) + self.run_store(node_id):
            pass

    def bring_up(self, node_id: NodeId) -> None:
        """Start the node and let it register."""
        if not self.up(node_id):
            self.world.start(node_id)
        self.run_alone(node_id)

    def damage(self, node_id: NodeId, found: DiskImage) -> None:
        """Crash the node and restart it with another disk."""
        if self.up(node_id):
            self.world.crash(node_id)
        disk = self.world.nodes[node_id].disk
        disk.image, disk.tail = found, fork_of(found)
        self.counts.damage += 1
        self.invariants.on_damage(node_id)

    def pass_time(self, node_id: NodeId) -> None:
        """Fire the node's next timer, then run its disk and store calls."""
        timers = self.world.nodes[node_id].timers
        if timers:
            self.world.fire(node_id, min(timers.values(), key=lambda timer: timer.lo_at).key)
        self.run_alone(node_id)

    def campaign(self, node_id: NodeId) -> bool:
        """Advance the node's own clock until it leads or reaches a limit."""
        self.bring_up(node_id)
        for _ in range(16):
            if not self.up(node_id) or self.leads(node_id):
                break
            self.pass_time(node_id)
        return self.leads(node_id)

    def forget(self, call: MetaCall, *, lost: bool) -> None:
        """Time out a call as Unknown."""
        self.counts.unknown += 1
        self.counts.unknown_write += isinstance(call.request, Cas)
        self.world.meta_unknown(call.number, lose_request=lost)

    # -- clients --------------------------------------------------------------------------------

    def batch(self, records: int) -> Batch:
        builder = Builder()
        for _ in range(records):
            self.values += 1
            builder.append(b"%d" % self.values, timestamp_ms=self.values)
        return builder.build()

    def send(self, producer: NodeId, records: int) -> int:
        handle = self.world.call(producer, SendBatch(self.batch(records)))
        self.sent[handle] = producer
        return handle

    def produce_at(self, node_id: NodeId) -> None:
        """Send a record without a producer id to this broker, if it is up."""
        if self.up(node_id):
            batch = seal(self.batch(1))
            self.world.call(node_id, ProduceRequest(0, Epoch(0), -1, 1_000 * MS, batch))

    def poll(self) -> int:
        return self.world.call(READER, Poll())

    # -- the end --------------------------------------------------------------------------------

    def budget_spent(self) -> bool:
        """Return whether no node may be elected: with flush=os after min ISR machine crashes."""
        state = self.world.store.state
        return state is not None and not state.isr and not state.elr

    def converged(self) -> bool:
        """Return whether all logs are equal, HW = LEO, ISR = all, nothing pending (Lv8)."""
        state = self.world.store.state
        if state is None or state.leader is None or state.isr != NODES:
            return False
        brokers = [self.broker(node_id) for node_id in NODES]
        end = brokers[0].log.leo
        return (
            all(b.hw == b.log.leo == end and b.epoch == state.leader_epoch for b in brokers)
            and self.leads(state.leader)
            and self.broker(state.leader).pending_isr is None
            and all(not self.world.nodes[p].callers for p in PRODUCERS)
        )

    def heal(self) -> None:
        """Stop all faults and advance time: the cluster converges within a bound (Lv8)."""
        for place in self.world.nodes.values():
            if place.crash_point is not None:
                place.crash_point.remove()
                place.crash_point = None
        settle(self.world)  # Some brokers may halt now, for example by NoSpace.
        for node_id in NODES:
            if not self.up(node_id):
                self.world.start(node_id)
        done = advance(self.world, 20_000 * MS, lambda: self.converged() or self.budget_spent())
        if self.budget_spent():
            self.counts.stuck += 1
            lossy = self.counts.damage if self.flush == "batch" else self.counts.machine_crash
            assert lossy >= self.min_isr, "no node may be elected, without enough lossy restarts"
            return
        assert done, f"not converged 20 s after all faults stopped: {self.state()}"
        self.counts.healed += 1
        self.read_all()

    def read_all(self) -> None:
        """Read up to the high watermark; the invariants check each record."""
        reader = self.world.nodes[READER]
        advance(self.world, 10_000 * MS, lambda: not reader.callers)
        end = self.invariants.committed_end
        for _ in range(4 + self.values):
            handle = self.poll()
            advance(self.world, 3_000 * MS, lambda: not reader.callers)
            answer = self.world.transit.answers[handle]
            assert isinstance(answer, PollResult)
            if answer.next_offset >= end:
                return
        raise AssertionError(f"the consumer did not reach {end}")

    def state(self) -> str:
        lines = [f"record {self.world.store.state}"]
        for node_id in NODES:
            place = self.world.nodes[node_id]
            lines.append(
                f"{node_id}: {place.host.node.snapshot()}" if place.host else f"{node_id}: down"
            )
        return "\n".join(lines)

    def summary(self) -> Counts:
        """Return the counts at the end of the walk."""
        self.counts.epochs = len(self.invariants.context.ledger.starts)
        self.counts.second_leader = self.counts.epochs > 1
        self.counts.committed = self.invariants.committed_end
        return self.counts


def _words(what: object) -> str:
    if isinstance(what, Replicate):
        batches = ", ".join(f"[{b.base_offset}, {b.end})/{b.epoch}" for b in what.batches)
        at = f"at {what.prev_offset}/{what.prev_epoch}"
        return f"Replicate(epoch {what.epoch}, {at}, {batches or 'empty'}, hw {what.hw})"
    if isinstance(what, ReplicateAck):
        return f"ReplicateAck(epoch {what.epoch}, start {what.broker_epoch}, match {what.match})"
    return repr(what)
