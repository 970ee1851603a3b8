# %% [markdown]
"""
# Lesson 4. The ISR shrinks and grows

After this lesson you can say how long a follower that stands still delays all commits, when the
leader removes it from the ISR, and when the follower may come back. You can explain why lag is
measured in time and not in records. You write the rule that lets a follower join the ISR.

*Time:* 60 minutes. *You need:* lessons 1 to 3 (HW, ISR, acks, min ISR). Run the cells from top to
bottom.

| term | meaning |
| --- | --- |
| metadata store | a small database that contains the leader, its epoch and the ISR |
| to shrink the ISR | the leader removes a follower from the ISR, by a write to the metadata store |
| to expand the ISR | the leader adds a follower to the ISR; the follower *joins* |
| caught up | the follower has all records that the leader had when an earlier ack arrived |
| lag | the time since the follower was last caught up |
| `replica_lag_us` | the limit of the lag in microseconds: 2 s here |
| epoch | the number of the current leadership; each election increases it |
| epoch start | the leader's LEO at its election; the new records of its epoch begin here |
"""

# %%
from dataclasses import replace
from itertools import product

from yak_core import Rules
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

A follower *pauses* for five seconds (`pause_ms`): its process stands still, for example in a
garbage collection, and then goes on. The process does not crash, and the follower keeps its log. A
producer with acks=1 sends 20 records per second, so the LEO of the leader goes on. The scenario
measures how long the HW of the leader stands still, when the follower leaves the ISR, and when it
is back.
"""

# %%
RATE_PER_S = 20


@scenario(seed=4, brokers=3)
def paused_follower(world: World, *, pause_ms: int = 5000) -> Script:
    """A follower stands still for some time."""
    yield world.until_ready()
    leader = str(world.leader)
    paused = [node for node in world.brokers if node != leader][-1]
    producer = world.producer(rate_per_s=RATE_PER_S, acks="1")
    yield world.sleep(seconds(1))

    begin = world.now_us
    world.pause(paused, for_us=millis(pause_ms))
    yield world.sleep(millis(100))
    stopped_at = world.broker(leader).hw
    yield world.until(lambda: world.broker(leader).hw > stopped_at, within=seconds(20))
    world.figure("HW stood still ms", (world.now_us - begin) // 1000)
    world.figure("HW rose by", world.broker(leader).hw - stopped_at)
    world.figure("left the ISR", paused not in world.isr)
    yield world.at(begin + millis(pause_ms - 1))
    world.figure("missing", world.broker(leader).leo - world.broker(paused).leo)
    yield world.until_back(paused)
    world.figure("back after ms", (world.now_us - begin) // 1000 - pause_ms)

    yield world.sleep(seconds(1))
    producer.stop()
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.logs_converge()


# %% [markdown]
"""
## Predict

The pause takes 5 seconds. The limit of the lag is 2 seconds.

1. **For how many milliseconds does the HW of the leader stand still?**
2. At the end of the pause, about 100 records are missing on the follower. How many milliseconds
   later is it back in the ISR? (A message takes about half a millisecond.)
"""

# %%
my_guess_still_ms = 5000
my_guess_back_ms = 1000

# %% [markdown]
"""
## Run
"""

# %%
result = run_scenario(paused_follower, on_line=print)
print("valid:", result.valid)

# %%
plot_watermarks(result.trace)

# %% [markdown]
"""
The rows below the curves show the ISR: the row of a broker is coloured while the broker is in the
ISR, and white while it is not. The narrative says when the leader removed n3 and when n3 joined.
(The leader learns it about 1 ms after the metadata store, whose time the result below uses.)

## Explain
"""

# %%
still_ms, back_ms = result.figures["HW stood still ms"], result.figures["back after ms"]
print(f"HW: your number {my_guess_still_ms} ms, result {still_ms} ms.")
print(f"Back in the ISR: your number {my_guess_back_ms} ms, result {back_ms} ms.")
assert 1900 <= still_ms <= 2200
assert back_ms <= 100
print(f"The HW rose by {result.figures['HW rose by']} records at once,", end=" ")
print(f"and {result.figures['missing']} records were missing at the end of the pause.")
assert result.figures["HW rose by"] == 40
assert abs(result.figures["missing"] - 100) <= 2

# %% [markdown]
"""
1. Why does the HW stand still at first, and rise by 40 records at once after two seconds?
2. From 2 s to 5 s after the start of the pause, two brokers commit records. Why is this
   allowed, and what would min ISR 3 change?
3. Why may the leader not simply ignore the follower, without a write to the metadata store?
4. The follower was away for five seconds and is back within some milliseconds. What would make this
   time long?

<details><summary>Answers</summary>

1. The paused follower is in the ISR, so nothing is committed without it. After 2 s of lag, the
   leader removes it from the ISR. The lowest LEO in the ISR is then that of the other follower,
   which has all records: 40 records, 2 s at 20 records per second. (The lag began at the last ack,
   about 50 ms before the pause, and the leader checks it every 100 ms: so 1997 ms, not 2000 ms.)
2. The ISR has two members, and min ISR is 2. With min ISR 3 the HW would stand still for the whole
   pause.
3. The metadata store decides who can be elected: the members of the ISR. If the follower stayed in
   the ISR there, it could become the leader without the committed records.
4. It has to receive all records that it does not have. After hours, or over a slow link, this takes
   long. Until then it is not in the ISR, and cannot become the leader.

</details>

## Modify: the limit

Predict the time without commits for each pair, then run the cell. Is there a case in which the
follower never leaves the ISR?
"""

# %%
print("pause          limit 1 s       limit 2 s       limit 4 s")
for pause_ms in (500, 1500, 3000, 5000):
    print(f"{pause_ms:>5} ms", end="")
    for lag_s in (1, 2, 4):
        settings = {"pause_ms": pause_ms, "replica_lag_us": seconds(lag_s)}
        figures = run_scenario(paused_follower, settings=settings).figures
        left = "left" if figures["left the ISR"] else "stays"
        print(f"{figures['HW stood still ms']:>7} ms {left:>5}", end="")
        assert abs(figures["HW stood still ms"] - min(pause_ms, 1000 * lag_s)) < 200
    print()

# %% [markdown]
"""
The time without commits is the shorter one of the pause and the limit. A short limit makes it
short. But each time that a follower leaves the ISR, there is one copy fewer of each new record.

## Modify: lag in records

Kafka 0.8 measured the lag of a slow follower in records (`replica.lag.max.messages`). Its limit in
time was only for followers that sent no fetch at all. The next cell puts the rule for records into
the brokers: a follower that misses more than 4 records leaves the ISR. The followers are
healthy: one of them has a link of 100 ms. The producer sends 10, then 100, then again 10 records
per second. How often does the ISR shrink with each rule?
"""


# %%
@scenario(seed=4, brokers=3)
def busy_times(world: World) -> Script:
    """The rate of the producer is ten times higher for three seconds."""
    yield world.until_ready()
    leader = str(world.leader)
    followers = [node for node in world.brokers if node != leader]
    world.slow_link(leader, followers[-1], delay_us=millis(100))
    for rate in (10, 100, 10):
        producer = world.producer(rate_per_s=rate)
        yield world.sleep(seconds(3))
        producer.stop()
    yield world.until_converged()


def more_than_four(now_us, caught_up_at_us, match, leo, replica_lag_us):
    """The lag in records: match is the LEO of the follower, as the leader knows it."""
    return leo - match > 4


in_time = run_scenario(busy_times)
in_records = run_scenario(busy_times, rules=replace(Rules(), in_lag=more_than_four))
shrinks = [
    sum("left the ISR" in line.text for line in run.narrative) for run in (in_time, in_records)
]
print("Number of times that the ISR shrinks, lag in time:", shrinks[0])
print("Number of times that the ISR shrinks, lag in records:", shrinks[1])
assert shrinks == [0, 1]

# %% [markdown]
"""
No number of records fits all rates. On a link of 100 ms, 1 record is on the way at 10 records per
second, and 10 records at 100 per second. So with a limit of 4 records, a healthy follower leaves
the ISR in the busy time, and joins only after it. With a limit of 4,000 records and one record
every 3 seconds at night, a follower that has stopped stays in the ISR for more than 3 hours. A
limit in time means the same at each rate (KIP-16).

## Exercise: who may join?

Write the rule that lets a follower join the ISR. Its arguments are

- `match`: the follower has all of the leader's records below this offset. It is the offset in the
  follower's last ack to this leader;
- `hw`: the leader's high watermark;
- `epoch_start`: the leader's LEO at its election. All records below it come from earlier leaders;
- `leo`: the leader's LEO.

It returns True if the follower may join now. The promise: **a member of the ISR has every committed
record**, because it can be elected at any time. Under this promise, the rule must say True as early
as possible. Remember lesson 2: the HW of a *new* leader trails. Earlier leaders may have committed
more than the new leader knows. The function below runs, but its result is wrong. Correct it.
"""


# %%
def may_join(match: int, hw: int, epoch_start: int, leo: int) -> bool:
    """Return whether a follower may join the ISR."""
    return match >= hw


# %% [markdown]
"""
The grader does not contain the rule. For each case it tries each number of records that may be
committed, elects the follower, and looks for a committed record that the follower does not have.
"""

# %%
SIZE = 5


def possibly_committed(hw: int, epoch_start: int) -> range:
    """Return each end of the committed records that the leader must think possible.

    Below the HW all records are committed. Earlier leaders may have committed more of the records
    below the epoch start. Only this leader commits records of its own epoch.
    """
    return range(hw, max(hw, epoch_start) + 1)


def cases():
    """Yield all cases with offsets up to SIZE."""
    offsets = range(SIZE + 1)
    for match, hw, epoch_start, leo in product(offsets, repeat=4):
        if leo < max(match, hw, epoch_start):
            continue
        lost = [
            (end, offset)
            for end in possibly_committed(hw, epoch_start)
            for offset in range(end)
            if offset >= match
        ]
        reason = "it has every record that can be committed"
        if lost:
            end, offset = lost[0]
            reason = f"if the records below {end} are committed, record {offset} would be lost"
        situation = f"With match {match}, HW {hw}, epoch start {epoch_start} and LEO {leo}"
        yield Case((match, hw, epoch_start, leo), not lost, situation, reason)


passed = grade(may_join, cases())

# %% [markdown]
"""
## Stretch: run the cluster with your rule

Four brokers. The leader crashes while its records are on the way. The new leader has all of them,
but its HW trails. The other member of the ISR answers slowly, so the HW does not rise for more
than a second. In this time a broker that was down comes back and catches up, message by message. At
which offset does your rule let it join? (In the message of the checker, *durable end* is the end of
the flushed records; only these count for the promise. *Partition epoch* is the number of changes of
the leader and the ISR in the metadata store.)

`decide` contains the other conditions: the follower must not be stopping, must be the process that
is registered under its name, and with too few members in the ISR it must be caught up. Also try
`return match >= leo`. The run is valid with it. What does the cluster lose nevertheless?

<details><summary>Answer</summary>

Time with one more copy. The producer always sends new records, so the follower reaches the leader's
LEO late, or never. Until it joins, fewer brokers can be elected. Below min ISR, commits stop, too.

</details>
"""


# %%
@scenario(seed=4, brokers=4, limits={"message_bytes_max": 200})
def early_return(world: World) -> Script:
    """A broker catches up while the HW of a new leader trails."""
    yield world.until_ready()
    leader = str(world.leader)
    successor, slow, late = [node for node in world.brokers if node != leader]
    world.slow_link(leader, (successor, slow), delay_us=millis(200))
    many = world.producer(rate_per_s=50, acks="1")
    some = world.producer(rate_per_s=2)
    world.crash(late)
    yield world.sleep(seconds(4))
    world.expect.isr_is([node for node in world.brokers if node != late])

    world.disconnect(slow, "store")
    world.slow_link(successor, slow, delay_us=seconds(1.5))
    world.crash(leader)
    yield world.sleep(seconds(1))
    world.restart(late)
    yield world.until(lambda: world.leader == successor, within=seconds(10))
    yield world.until(lambda: late in world.isr, within=seconds(10), what=f"{late} joins")
    world.heal()
    world.restart(leader)
    yield world.until_isr(world.brokers)
    many.stop()
    some.stop()
    yield world.until_converged()


def decide(facts) -> bool:
    """Call your rule as a broker does, after the other conditions."""
    registered = facts.recorded_broker_epoch
    if facts.draining or registered == 0 or facts.progress_broker_epoch != registered:
        return False
    if facts.match < 0:
        return False  # no acknowledgement yet
    if not facts.caught_up and facts.isr_size < facts.min_isr:
        return False
    return may_join(facts.match, facts.hw, facts.epoch_start, facts.leo)


agrees = grade_in_cluster(early_return, "may_join", decide)
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| the lag limit is 2 s | 30 s (`replica.lag.time.max.ms`); 10 s before KIP-537 |
| the leader writes the ISR to the metadata store | it asks the controller, which does (KIP-497) |
| join at HW **and** epoch start | the same since KAFKA-7128 |
| only the registered process joins | the same: a broker epoch identifies each start (KIP-903) |

The error in the given rule was in Kafka until 2018 (KAFKA-7128): a follower joined below the epoch
start, was elected, and committed records were lost. The rules have the numbers R6 and R7 in
`docs/protocol.md`.

**Next:** lesson 5, how a cluster without a leader gets a new one. `scenarios/slow_follower.py`
shrinks and expands the ISR with a slow link: `yak sim run slow_follower`.
"""
