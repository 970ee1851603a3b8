# %% [markdown]
"""
# Lesson 8. Retries: a timeout is not a failure

After this lesson you can say what a producer knows about a record without an answer, and what its
retry can do to the log. You can name the three outcomes of a record, and say which of them a
program may repeat safely. You can explain which numbers make retries safe, what a broker remembers,
and why a new leader remembers it as well. You write the rule that recognises retries.

*Time:* 60 minutes. *You need:* lessons 1 to 5 (HW, acks, election). Run the cells from top to
bottom.

| term | meaning |
| --- | --- |
| batch | records that a producer sends together; in this lesson each batch has one record |
| timeout | the producer has waited for the answer long enough: one second here |
| retry | the producer sends the same batch again, to the same or to another broker |
| delivery timeout | the time after which the producer gives up the batch |
| outcome | *written*, *not written* (in no log, now and later), or *unknown* |
| idempotent | sending twice has the same effect as sending once |
| producer id | a number that identifies the producer; it is in each of its batches |
| sequence | the number of a record of this producer: 0, 1, 2, and so on |
| producer epoch | grows when a producer starts its sequences again at 0 |
"""

# %%
from collections import Counter
from itertools import product

from yak_core import Outcome, SequenceCheck, SequenceResult, records
from yak_sim import (
    Case,
    Script,
    Situation,
    World,
    grade,
    grade_in_cluster,
    load_scenario,
    millis,
    plot_watermarks,
    run_scenario,
    scenario,
    seconds,
)

# %% [markdown]
"""
## The scenario

A producer sends 60 orders, 20 per second. After one second, the answers of the leader to the
producer are lost; the requests arrive. 200 ms later (`lost_ms`) the leader crashes, and a follower
is elected. The producer has got no answer to its last records, so it sends them again, to the new
leader.

The scenario runs twice. With acks=all the producer is *idempotent*: its batches have a producer id
and a sequence. With acks=1 they have none.
"""

# %%
RATE_PER_S = 20
ORDERS = 60


def values_in(world: World, node: str) -> list[bytes | None]:
    """Return the values of the records on a broker, in order."""
    return [record.value for batch in world.log_of(node) for record in records(batch)]


@scenario(seed=8, brokers=3)
def lost_answers(world: World, *, acks: str = "all", lost_ms: int = 200) -> Script:
    """The answers of a leader are lost, and the leader crashes."""
    yield world.until_ready()
    leader = str(world.leader)
    values = [b"order %d" % number for number in range(ORDERS)]
    producer = world.producer(acks=acks, rate_per_s=RATE_PER_S, values=values)
    yield world.sleep(seconds(1))

    fault = world.disconnect(leader, "clients")
    yield world.sleep(millis(lost_ms))
    world.figure("acked", producer.acked_count)
    world.figure("committed", world.broker(leader).hw)
    world.crash(leader, for_us=seconds(6))
    world.heal(fault)
    yield world.until(lambda: producer.finished, within=seconds(60), what="all have an outcome")
    yield world.until_converged()

    log = values_in(world, str(world.leader))
    world.figure("in the log", len(log))
    world.figure("copies", sum(count - 1 for count in Counter(log).values()))
    world.figure("recognised", world.reached(Situation.DUPLICATE_RECOGNISED))
    world.figure("written", producer.acked_count)
    world.expect.nothing_acked_is_lost()


# %% [markdown]
"""
## Predict

The producer sends 60 orders and retries until each one is acknowledged.

**How many records are in the log at the end, with acks=all and with acks=1?**
"""

# %%
my_guess = {"all": 60, "1": 60}

# %% [markdown]
"""
## Run

The narrative and the plot are those of the run with acks=1. Look at the time between the fault and
the end of the election.
"""

# %%
results = {"all": run_scenario(lost_answers)}
results["1"] = run_scenario(lost_answers, settings={"acks": "1"}, on_line=print)
print("valid:", *(result.valid for result in results.values()))

# %%
plot_watermarks(results["1"].trace)

# %% [markdown]
"""
The row *acks* has a line for each acknowledgement. It is empty from the fault until the election,
but the log has grown before the crash: these records are in the log, and the producer does not know
it.

## Explain
"""

# %%
print("acks   acked at the crash   committed   in the log at the end   copies   recognised")
for acks, result in results.items():
    names = ("acked", "committed", "in the log", "copies", "recognised")
    print("{:<5}{:>20}{:>12}{:>24}{:>9}{:>13}".format(acks, *(result.figures[n] for n in names)))
for acks, guess in my_guess.items():
    print(f"acks={acks}: your number {guess}, result {results[acks].figures['in the log']}.")
with_ids, without = results["all"].figures, results["1"].figures
assert with_ids["acked"] == without["acked"] == 20
assert with_ids["committed"] == without["committed"] == 24
assert (with_ids["in the log"], with_ids["copies"], with_ids["recognised"]) == (60, 0, 4)
assert (without["in the log"], without["copies"], without["recognised"]) == (64, 4, 0)
assert with_ids["written"] == without["written"] == ORDERS

# %% [markdown]
"""
1. At the crash, 20 records are acknowledged and 24 are committed. Could the producer find out by
   waiting longer whether the other four are written?
2. The producer with acks=1 has four orders twice in the log. Which step was wrong: the retry, or
   something else? What would happen without the retry?
3. With acks=all, the *new* leader recognises four retries. It never got the first requests from the
   producer. How does it know them?
4. What does the leader answer to a batch that it recognises?

<details><summary>Answers</summary>

1. No. The answers are lost. A lost request and a lost answer look the same: silence. So a timeout
   is not a failure, it is missing knowledge.
2. Nothing the producer could see was wrong. Without the retry, an order whose *request* was lost
   would be missing. Without sequences, the producer chooses between *at least once* (retry) and *at
   most once* (no retry).
3. Producer id, epoch and sequence are in the batches, so they are in the log, and the followers
   have the log. Each broker keeps a table that it computes from its log: the last five batches of
   each producer.
4. The same as to the first copy: written, with the offset of the first copy. The producer does not
   see the difference. (If the batch is older than the five in the table, the leader sees from the
   sequence that the batch is in the log, but it does not know the offset.)

</details>

## Modify: how many copies?

Predict the number of copies with acks=1 when the answers are lost for a longer time. A producer has
at most five batches in flight; then it waits.
"""

# %%
for lost_ms in (100, 200, 400, 800):
    for acks in ("all", "1"):
        numbers = run_scenario(lost_answers, settings={"acks": acks, "lost_ms": lost_ms}).figures
        unanswered = numbers["committed"] - numbers["acked"]
        print(f"{lost_ms} ms, acks={acks:<4}{unanswered} without an answer,", end=" ")
        print(f"{numbers['copies']} copies")
        assert unanswered == min(5, lost_ms * RATE_PER_S // 1000)
        assert numbers["copies"] == (0 if acks == "all" else unanswered)
for lost_ms, copies in ((2500, 5), (3500, 10)):
    longer = run_scenario(lost_answers, settings={"acks": "1", "lost_ms": lost_ms}).figures
    assert longer["copies"] == copies

# %% [markdown]
"""
At most five batches are without an answer: this is why a table of five batches per producer is
enough. All these faults are shorter than the timeout of one second. After a timeout the producer
asks the other brokers first: with 2,500 ms there are still five copies. With 3,500 ms the batches
reach the same leader a second time, and acks=1 gives ten copies.

## Modify: when the producer gives up

A producer does not retry for ever. The next scenario has a delivery timeout of two seconds, and a
fault that lasts longer than that: with *request lost*, nothing from the producer reaches the
brokers; with *answer lost*, nothing from the brokers reaches the producer. During the fault the
program sends six records. Five are in flight, and the sixth waits in the producer. (The scenario
sets `in_flight=10`, but an idempotent producer never has more than five.)

Predict for each fault, for the first and for the sixth record: which outcome does the producer
report, and is the record in the log?
"""


# %%
@scenario(seed=8, brokers=3, limits={"delivery_timeout_us": seconds(2)})
def give_up(world: World, *, fault: str = "none") -> Script:
    """A producer gives up records after its delivery timeout."""
    yield world.until_ready()
    values = [b"order %d" % number for number in range(7)]
    producer = world.producer(values=values, hold=True, in_flight=10)
    producer.send(1)
    yield world.until(lambda: producer.acked_count == 1, within=seconds(5))
    if fault == "request lost":
        world.disconnect("clients", "brokers")
    elif fault == "answer lost":
        world.disconnect("brokers", "clients")
    producer.send(6)
    yield world.until(lambda: not producer.outstanding, within=seconds(10))
    world.heal()
    yield world.until_converged()
    log = values_in(world, str(world.leader))
    for name, number in (("first", 1), ("sixth", 6)):
        world.figure(name, Outcome(producer.sent[number].outcome).name)
        world.figure(f"{name} in the log", values[number] in log)
    world.expect.outcomes_are_true()


told = {}
for fault in ("none", "request lost", "answer lost"):
    numbers = run_scenario(give_up, settings={"fault": fault}).figures
    for name in ("first", "sixth"):
        told[fault, name] = (numbers[name], numbers[f"{name} in the log"])
        print(f"{fault:<14}{name:<7}{told[fault, name][0]:<13}in the log: {told[fault, name][1]}")
assert told["none", "first"] == told["none", "sixth"] == ("WRITTEN", True)
assert told["request lost", "first"] == ("UNKNOWN", False)
assert told["answer lost", "first"] == ("UNKNOWN", True)
assert told["request lost", "sixth"] == told["answer lost", "sixth"] == ("NOT_WRITTEN", False)

# %% [markdown]
"""
The first record was sent. Both faults look the same to the producer, and in one of them the record
is in the log, so *unknown* is the only honest outcome. The sixth record never left the producer, so
it is in no log. *Not written* is a promise: the program may send the record again as a new one.
After *unknown* that could make a copy. The program has to look into the log, or to accept a copy or
a loss.

## Exercise: which batches does a leader append?

Write the rule by which a leader handles a batch of an idempotent producer. Its arguments are

- `known`: the last batches of this producer in the log, at most five, oldest first, all of the
  newest producer epoch. Each is `(epoch, first, last)`: producer epoch, first and last sequence.
  Empty if the log has no batch of this producer;
- `epoch`, `first`, `last`: those of the batch that arrives.

It returns `"append"`, `"duplicate"` (the batch is in the log, even if it is older than the five in
`known`: acknowledge it) or `"refuse"`. `known` does not show which batches of an older epoch are in
the log.
Messages can be lost, repeated and late, and up to five batches are in flight. The promise: **the
log has each batch at most once, in the order in which the producer sent them, without gaps inside
an epoch, and nothing of an older producer epoch after a newer one.** A producer starts each epoch
with sequence 0, also if batches of the old epoch are missing. Under this promise, a
new batch must be appended and a duplicate acknowledged whenever possible.
The function below remembers only the last batch. It runs, but its result is wrong. Correct it.
"""


# %%
def handle(known: list[tuple[int, int, int]], epoch: int, first: int, last: int) -> str:
    """Return "append", "duplicate" or "refuse"."""
    if known and known[-1] == (epoch, first, last):
        return "duplicate"
    return "append"


# %% [markdown]
"""
The grader does not compare sequences. It writes down all batches of a producer in the order in
which it sends them, lets the log contain the batches up to any of them, and lets any batch arrive:
one from the past or one from the future. The expected answer follows from the places in this list.
"""

# %%
SIZES = (1, 3, 2, 1, 1, 2, 1, 1)


def batches_of(epoch: int, sizes):
    """Return the batches of one producer epoch as (epoch, first, last), in send order."""
    sent, first = [], 0
    for size in sizes:
        sent.append((epoch, first, first + size - 1))
        first += size
    return sent


def cases():
    """Yield each log of a producer with three epochs, and each batch that can arrive."""
    epochs = [batches_of(epoch, SIZES[epoch:]) for epoch in range(3)]
    logs = [(-1, [])]  # the newest epoch in the log, and its batches in the log
    logs += [(e, epochs[e][:n]) for e in range(3) for n in range(1, len(epochs[e]) + 1)]
    for (newest, log), sent in product(logs, epochs):
        for place, batch in enumerate(sent):
            in_order = len(log) if batch[0] == newest else 0
            if batch in log:
                expected, reason = "duplicate", "this batch is in the log"
            elif batch[0] < newest:
                expected, reason = "refuse", f"the log has batches of producer epoch {newest}"
            elif place == in_order:
                expected, reason = "append", "it is the next batch of the producer"
            else:
                expected, reason = "refuse", "an earlier batch is missing"
            situation = f"With the known batches {log[-5:]} and the batch {batch}"
            yield Case((log[-5:], *batch), expected, situation, reason)


passed = grade(handle, cases())

# %% [markdown]
"""
## Stretch: run the cluster with your rule

In the first scenario the network loses and repeats messages between producers and brokers, and the
leader crashes. In the second one, two producers use the same producer id, as after the copy of a
virtual machine; the one with the older producer epoch must be refused. `decide` translates your
answer. Also try the rule that appends everything. Which guarantee breaks? The output names it. In
a printed batch, `producer 12/0/4` means producer id 12, producer epoch 0 and sequence 4.
"""


# %%
@scenario(seed=8, brokers=3)
def bad_network(world: World) -> Script:
    """Requests and answers are lost and repeated."""
    yield world.until_ready()
    noise = world.disturb("clients", "brokers", loss=(1, 10), duplicate=(1, 5), two_way=True)
    producers = [world.producer(rate_per_s=40, values=150) for _ in range(3)]
    yield world.sleep(seconds(2))
    world.crash(str(world.leader), for_us=seconds(5))
    yield world.sleep(seconds(6))
    world.heal(noise)
    yield world.until(lambda: all(p.finished for p in producers), within=seconds(60))
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()


def decide(entry, batch):
    """Call your rule as a broker does, and return the decision of the protocol."""
    known = [(entry.epoch, first, last) for first, last, _, _ in entry.batches] if entry else []
    last = batch.base_sequence + batch.count - 1
    answer = handle(known, batch.producer_epoch, batch.base_sequence, last)
    if answer == "append":
        return SequenceCheck(SequenceResult.ACCEPT)
    if entry is None:
        return SequenceCheck(SequenceResult.UNKNOWN_PRODUCER)
    if answer == "duplicate":
        for one, other, base, end in entry.batches:
            if (one, other) == (batch.base_sequence, last):
                return SequenceCheck(SequenceResult.DUPLICATE, base, end)
        return SequenceCheck(SequenceResult.DUPLICATE_OLD, -1, entry.batches[0][2])
    stale = batch.producer_epoch < entry.epoch
    return SequenceCheck(SequenceResult.FENCED if stale else SequenceResult.GAP)


one_id = load_scenario("two_producers_one_id")
verdicts = [grade_in_cluster(each, "accept_sequence", decide) for each in (bad_network, one_id)]
agrees = all(verdicts)
print("Passed:", passed and agrees)

# %% [markdown]
"""
If a producer gives up a batch, this batch may never reach a log. Then its sequence is missing for
ever, and the leader refuses all later batches of this producer epoch. So the producer starts a new
producer epoch, at sequence 0, when all other batches of the old epoch have an outcome. After the
first batch of the new epoch, the leader refuses late copies of the old epoch.

## Where Kafka differs

| here | in Kafka |
| --- | --- |
| id, epoch and sequence in each batch, five batches | the same (KIP-98, KAFKA-5494) |
| an unknown producer must start at sequence 0 | any first sequence is accepted |
| the producer chooses its random id | a broker assigns it (`InitProducerId`, KIP-98, KIP-730) |
| the producer starts a new epoch after giving up | the same (KIP-360) |
| each answer has an outcome | the error code implies it |
| the delivery timeout is 120 s by default | 120 s (`delivery.timeout.ms`, KIP-91) |
| a timeout of 1 s for each request | 30 s (`request.timeout.ms`) |
| idempotent with acks=all | the default since Kafka 3.0 (KIP-679) |

Sequences make *one* producer session safe. A program that starts again has a new producer id, and
must know itself which orders it has sent; Kafka's transactions (KIP-98) help with that. The rule
has the number R9 in `docs/protocol.md`.

**Next:** lesson 9, consumers and their positions. From the command line: `yak sim run
idempotent_retry`, and `yak sim run two_producers_one_id`.
"""
