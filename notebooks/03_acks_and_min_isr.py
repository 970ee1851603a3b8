# %% [markdown]
"""
# Lesson 3. acks and min ISR: which records survive

After this lesson you can say which records survive a failure: for a producer with acks=0, acks=1
and acks=all, and for a cluster with min ISR 1, 2 and 3. You can say what each choice costs. You
write the rule that decides when a leader may acknowledge a record.

*Time:* 60 minutes. *You need:* lessons 1 and 2 (LEO, HW, ISR, ack). Run the cells from top to
bottom.

| term | meaning |
| --- | --- |
| to acknowledge | to answer the producer: this record is written |
| acks=0 | the producer does not wait for an answer |
| acks=1 | the leader acknowledges when it has the record itself |
| acks=all | the leader acknowledges when the record is committed: below the HW |
| min ISR | the smallest ISR with which records are committed (Kafka: `min.insync.replicas`) |
| to flush | to write to the disk itself; what is not flushed is lost when the machine loses power |
"""

# %%
from itertools import combinations, product

from yak_core import Outcome, records
from yak_sim import (
    Case,
    Script,
    World,
    grade,
    grade_in_cluster,
    millis,
    plot_watermarks,
    run_scenario,
    scenario,
    seconds,
)

# %% [markdown]
"""
## The scenario

Three producers write to the same log, with acks=0, acks=1 and acks=all. Each sends 20 records per
second. Messages from the leader to its followers take 50 ms. After two seconds the leader loses the
connection to its followers, but not to the producers. Half a second later (`cut_off_ms`) it
crashes, and the producers stop. A follower becomes the leader. Later the old leader comes back.

At the end, the scenario counts for each producer: the records that it has sent before the crash,
those that were acknowledged before the crash, those in the log at the end, and those that were
acknowledged and are **not** in the log at the end: the lost records.
"""

# %%
RATE_PER_S = 20


def values_in(world: World, node: str) -> set[bytes | None]:
    """Return the values of the records on a broker."""
    return {record.value for batch in world.log_of(node) for record in records(batch)}


@scenario(seed=3, brokers=3)
def three_acks(world: World, *, cut_off_ms: int = 500) -> Script:
    """A leader that is cut off from its followers crashes."""
    yield world.until_ready()
    leader = str(world.leader)
    followers = tuple(node for node in world.brokers if node != leader)
    world.slow_link(leader, followers, delay_us=millis(50))
    producers = {}
    for acks in ("0", "1", "all"):
        values = [f"acks={acks} {number}".encode() for number in range(200)]
        producers[acks] = world.producer(acks=acks, rate_per_s=RATE_PER_S, values=values)
    yield world.sleep(seconds(2))

    world.disconnect(leader, followers)
    yield world.sleep(millis(cut_off_ms))
    acked = {acks: list(producer.acked) for acks, producer in producers.items()}
    world.crash(leader, for_us=seconds(6))
    world.heal()
    for producer in producers.values():
        producer.stop()
    yield world.until(lambda: all(p.finished for p in producers.values()), within=seconds(60))
    yield world.until_converged()

    log = values_in(world, str(world.leader))
    for acks, producer in producers.items():
        waits = sorted(sent.resolved_us - sent.at_us for sent in acked[acks])
        world.figure(f"{acks} sent", producer.sent_count)
        world.figure(f"{acks} acked", len(acked[acks]))
        world.figure(f"{acks} in the log", sum(sent.values[0] in log for sent in producer.sent))
        world.figure(f"{acks} lost", sum(sent.values[0] not in log for sent in acked[acks]))
        world.figure(f"{acks} wait us", waits[len(waits) // 2] if waits else -1)
        unknown = [sent for sent in producer.sent if sent.outcome == Outcome.UNKNOWN]
        world.figure(f"{acks} unknown", len(unknown))


# %% [markdown]
"""
## Predict

The followers get no records in the last 500 ms before the crash. A new leader has only the records
that it has received.

**How many acknowledged records do the producers with acks=1 and acks=all lose?** (With acks=0 there
are no acknowledged records.) Write your two numbers here before you continue.
"""

# %%
my_guess = {"1": 0, "all": 0}

# %% [markdown]
"""
## Run

The narrative shows the crash, the election and the return of the old leader. Look for the line that
says that the old leader *truncates*: it removes records from the end of its log, because the log of
the new leader does not have them.
"""

# %%
result = run_scenario(three_acks, on_line=print)
print("valid:", result.valid)

# %%
plot_watermarks(result.trace)

# %% [markdown]
"""
In the plot, the thin line of the first leader rises until the crash. The thick lines stop before.
The distance between them is the number of records that only this leader has: 27. Of these, 11 have
acks=0, 11 acks=1 and 5 acks=all, because a producer with acks=all waits when five of its batches
have no answer. The crosses in the row *acks* are the records with acks=0.

## Explain
"""

# %%
figures = result.figures
print("acks   sent  acked  in the log  acked and lost  unknown  wait for the ack (median)")
for acks in ("0", "1", "all"):
    numbers = [figures[f"{acks} {name}"] for name in ("sent", "acked", "in the log", "lost")]
    wait_us = figures[f"{acks} wait us"]
    wait = f"{wait_us / 1000:.1f} ms" if wait_us >= 0 else "no ack"
    print("{:<5}{:>6}{:>7}{:>12}{:>16}".format(acks, *numbers), end="")
    print(f"{figures[f'{acks} unknown']:>9}  {wait}")
print()
for acks, guess in my_guess.items():
    print(f"acks={acks}: your number {guess}, result {figures[f'{acks} lost']}.")
assert abs(figures["1 lost"] - RATE_PER_S / 2) <= 2
assert figures["all lost"] == 0
assert figures["all in the log"] == figures["all sent"] > figures["all acked"]
assert figures["0 unknown"] == figures["0 sent"] > figures["0 in the log"]
assert figures["1 wait us"] < millis(5)
assert millis(50) < figures["all wait us"] < millis(60)

# %% [markdown]
"""
1. Why does the producer with acks=1 lose acknowledged records? Who made the wrong promise?
2. Fewer records of the producer with acks=all were acknowledged before the crash, but all are in
   the log at the end. How did the others get into the log?
3. What does the producer with acks=0 know about its records?
4. What does acks=all cost in this run? On which number does the cost depend?

<details><summary>Answers</summary>

1. The leader acknowledged records that no other broker had: 20 records per second for half a
   second, and one that was on its way to the followers. After its crash, a follower without these
   records became the leader, and the old leader truncated them. The leader kept the rule of acks=1;
   the promise is too weak for this failure.
2. The producer got no answer for five of them, and sent them again to the new leader. The other six
   still waited in the producer. A timeout is not a failure: the producer has to try again until it
   gets an answer (lesson 8).
3. Nothing. All of them have the outcome *unknown*, the lost ones and the others.
4. Each record waits for the slowest follower in the ISR: 50 ms and some time for messages and
   disks. acks=1 waits only for the leader.

</details>

## Modify

acks=all promises: committed records survive. But how many brokers are needed for a commit? If both
followers fail, the ISR has one member, the leader. Is a record committed that only the leader has?

The next scenario has another kind of brokers: they do not flush each batch (`flush="os"`), so a
machine that loses power loses its records. First, the *processes* of some followers end (`down`);
their disks are not damaged. A producer with acks=all goes on for eight seconds. Then the *machine
of the leader* loses power, and all brokers start again.

Predict for each min ISR, with one and with two followers down: how many of the 180 records are
acknowledged, and how many acknowledged records survive on a leader?
"""


# %%
@scenario(seed=3, brokers=3, flush="os")
def bill(world: World, *, down: int = 2) -> Script:
    """Followers stop, the leader goes on alone, then its machine loses power."""
    yield world.until_ready()
    leader = str(world.leader)
    followers = [node for node in world.brokers if node != leader]
    values = [f"record {number}".encode() for number in range(400)]
    producer = world.producer(rate_per_s=RATE_PER_S, values=values)
    yield world.sleep(seconds(1))
    for node in followers[:down]:
        world.crash(node, lose="nothing")
    yield world.sleep(seconds(8))
    acked = [sent.values[0] for sent in producer.acked]
    world.figure("sent", producer.sent_count)
    world.figure("acked", len(acked))

    producer.stop()
    world.crash(leader, lose="unsynced")
    for node in world.brokers:
        world.restart(node)
    yield world.sleep(seconds(15))
    survive = values_in(world, world.leader) if world.leader else set()
    world.figure("survive", sum(value in survive for value in acked))


for min_isr, down in product((1, 2, 3), (1, 2)):
    run = run_scenario(bill, settings={"min_isr": min_isr, "down": down})
    numbers = run.figures
    assert run.valid is True
    assert numbers["sent"] == 180
    assert numbers["acked"] == (180 if 3 - down >= min_isr else 20)
    assert numbers["survive"] == (0 if (min_isr, down) == (1, 2) else numbers["acked"])
    print(
        f"min ISR {min_isr}, {down} of 3 down: {numbers['acked']:>3} of {numbers['sent']}"
        f" acknowledged, {numbers['survive']:>3} survive, leader at the end: {run.world.leader}"
    )

# %% [markdown]
"""
Read the table as a bill. With **min ISR 1**, the cluster accepts records with two brokers down, and
loses them when the machine of the third one loses power. The cluster does not pretend to have them:
no broker with a complete log is left, so there is no leader. (The first 20 records are still on two
disks. To continue with them and give up the others is a decision for an operator. Kafka calls it
*unclean leader election*.) With one broker down, the ISR still has two members. Each acknowledged
record has a second copy, so all survive. With **min ISR 3**, the cluster loses nothing, but it
stops accepting records when *one* broker fails. **Min ISR 2** of 3 accepts records with one broker
down, and loses none when one machine loses its records. In general: with *n* brokers and min ISR
*m*, acknowledged records survive the loss of *m* - 1 copies, and the cluster accepts records while
at most *n* - *m* brokers are down. With 5 brokers and min ISR 3, both numbers are 2.

## Exercise: when may a leader acknowledge?

Write the rule for acks=all. Its arguments are

- `leos`: the LEO, as the leader knows it, of each replica in the ISR and of each follower that the
  leader is adding to the ISR, for example `{"n1": 50, "n2": 40}`. To add a follower, the leader
  asks the metadata store. Until the answer arrives, it does not know which ISR the store has: the
  old one or the larger one. Members of both can be elected, so the rule must be safe with both;
- `isr`: the replicas in the ISR now, for example `("n1", "n2")`. All of them are in `leos`;
- `min_isr`: the min ISR.

It returns the offset below which the leader may acknowledge records now; 0 if it must acknowledge
none. It must be as high as possible under this promise: **if up to min ISR - 1 replicas lose their
records, each remaining member of the ISR has all acknowledged records, and at least one member
remains.** (Each remaining member could be elected.) The function below is the first half of
the rule of lesson 1: the lowest LEO in the ISR. It is wrong here. Correct it.
"""


# %%
def may_acknowledge(leos: dict[str, int], isr: tuple[str, ...], min_isr: int) -> int:
    """Return the offset below which the leader may acknowledge records."""
    return min(leos[node] for node in isr)


# %% [markdown]
"""
The grader does not contain the rule. For each case it tries all losses of up to min ISR - 1
replicas, with the ISR of now and the ISR of a moment later, and looks for the highest offset that
keeps the promise.
"""

# %%
NODES = ("n1", "n2", "n3")


def keeps_promise(end: int, leos: dict[str, int], members: tuple[str, ...], min_isr: int) -> bool:
    """Return whether the records below `end` survive each loss of min_isr - 1 replicas."""
    for losses in range(min_isr):
        for lost in combinations(NODES, losses):
            remaining = [node for node in members if node not in lost]
            if not remaining or any(leos[node] < end for node in remaining):
                return False
    return True


def subsets(nodes):
    """Return all subsets with at least one member."""
    return [some for size in range(1, len(nodes) + 1) for some in combinations(nodes, size)]


def cases():
    """Yield all cases with three replicas, LEOs up to 3, and min ISR 1 to 3."""
    for later, min_isr in product(subsets(NODES), (1, 2, 3)):
        for isr, ends in product(subsets(later), product(range(4), repeat=len(later))):
            leos = dict(zip(later, ends, strict=True))
            safe = [
                end
                for end in range(1, 4)
                if all(keeps_promise(end, leos, members, min_isr) for members in (isr, later))
            ]
            expected = max(safe, default=0)
            reason = "all records below it survive"
            if len(isr) < min_isr:
                reason = f"no member of the ISR remains when {', '.join(isr)} loses its records"
            elif expected < 3:
                late = min(later, key=lambda node: leos[node])
                reason = f"{late} can become the leader and has only the records below {leos[late]}"
            shown = " ".join(f"{node}={leo}" for node, leo in leos.items())
            situation = f"With the LEOs {shown}, the ISR {' '.join(isr)} and min ISR {min_isr}"
            yield Case((leos, isr, min_isr), expected, situation, reason)


passed = grade(may_acknowledge, cases())

# %% [markdown]
"""
## Stretch: run the cluster with your rule

The rule decides in the leader of a cluster with min ISR 2. Two followers stop, and come back one
after the other. The leader adds them to the ISR again. Its first request to the metadata store is
lost, so "a moment" is half a second. A broker never lowers its high watermark, so `decide` takes
the maximum.

Also try a rule that many people expect: a record is safe when *min ISR replicas* have it, that is,
`sorted(leos.values())[-min_isr]` if `leos` has at least `min_isr` entries. Which guarantee does
it violate?

<details><summary>Answer</summary>

"Each member of the ISR has all acknowledged records." With the LEOs 50, 50 and 40 in the ISR and
min ISR 2, this rule returns 50. The replica with LEO 40 can be elected: ten records are lost.

</details>
"""


# %%
@scenario(seed=3, brokers=3)
def alone_for_a_while(world: World) -> Script:
    """The leader is alone in the ISR; then its followers come back one by one."""
    yield world.until_ready()
    leader = str(world.leader)
    one, other = [node for node in world.brokers if node != leader]
    world.slow_link(leader, one, delay_us=millis(100))
    producer = world.producer(rate_per_s=RATE_PER_S)
    yield world.sleep(seconds(1))
    world.crash(one)
    world.crash(other)
    yield world.until_isr([leader])
    yield world.sleep(seconds(2))
    world.lose_store_requests(leader, calls="cas")
    world.restart(one)
    yield world.until_back(one)
    world.restart(other)
    yield world.until_back(other)
    producer.stop()
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()


def decide(hw, committed, maximal, positions, min_isr):
    """Call your rule as a broker does.

    `committed` is the ISR now, `maximal` also contains the followers that the leader is adding.
    If the leader does not know the LEO of one of them, the HW stays.
    """
    if any(node not in positions for node in maximal):
        return hw
    leos = {node: positions[node] for node in maximal}
    return max(hw, may_acknowledge(leos, committed, min_isr))


agrees = grade_in_cluster(alone_for_a_while, "advance_high_watermark", decide)
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| acks=all is the default | the same since 3.0 (KIP-679); before it, acks=1 |
| min ISR 2 of 3 is the default | `min.insync.replicas` is 1 by default; set it to 2 |
| below min ISR the HW does not advance | the same since 3.7 (KIP-966); before it, the HW advanced |
| ISR below min ISR: the error NOT_ENOUGH_REPLICAS, the producer tries again | the same |
| brokers flush, unless `flush="os"` | no flush for each batch; the copies protect the data |
| acks=1 only while no other leader is possible (lesson 5) | while the broker thinks it leads |

acks=all waits for the **whole ISR**, not for min ISR replicas. This is the same in both.

**Next:** lesson 4, how a replica leaves the ISR and comes back. `scenarios/leader_failover.py` is a
longer run in which a leader crashes with unreplicated records: `yak sim run leader_failover`.
"""
