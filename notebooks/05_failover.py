# %% [markdown]
"""
# Lesson 5. Failover: the window without a leader

In a failover, a broker takes the place of a leader that is down. After this lesson you can say how
the cluster finds out, which broker leads next, and what an epoch is for. You derive the shortest
and the longest time without a leader from three settings, and check it with 500 crashes.

*Time:* 60 minutes. *You need:* lessons 1 to 4 (HW, ISR, acks). Run the cells from top to bottom.

| term | meaning |
| --- | --- |
| the window | the time from the crash until the next leader; no record is accepted in it |
| lease | the right to lead; it has to be renewed again and again |
| renewal | the broker adds one to its *renewal count* in the metadata store |
| `lease_renew_us` | the time between two renewals of a broker: 300 ms here |
| `lease_us` | a lease expires after this time without a renewal: 1 s here, 3 s by default |
| to campaign | to write oneself into the metadata store as the leader of the next epoch |
| `election_stagger_us` | a pause between the campaigns of two candidates: 200 ms here |
| epoch | the number of a leadership; each election adds one |
"""

# %%
from itertools import groupby, product
from random import Random

from yak_sim import (
    Case,
    Script,
    World,
    grade,
    millis,
    plot_distribution,
    plot_watermarks,
    run_scenario,
    scenario,
    seconds,
)

# %% [markdown]
"""
## How a crash is detected

A crashed broker sends nothing, and a broker behind a broken network sends nothing either. The
others cannot see the difference. They look at one thing only: the counts in the metadata store.

1. Each broker renews its lease every 300 ms. The reply of the store contains the renewal counts of
   all brokers. So each broker also *reads* the count of the leader every 300 ms. The brokers
   started at different times, so they do this at different moments.
2. A broker starts a clock when it reads a *new* count of the leader. When the clock has run for 1 s
   and no other count was read, the lease has expired for this broker.
3. Only a member of the ISR is a candidate, because a member has every committed record. The
   candidates are ordered by name. The first candidate campaigns when the lease has expired. The
   second one waits for one stagger (200 ms) longer, and the third one for two. Each one waits for a
   random time on top, of at most *half* a stagger.
4. The write of a campaign contains the count that the candidate has read. The store refuses the
   write if the leader has renewed its lease since then, or if another candidate was faster.

## The scenario

The followers restart once, each at another time. A producer with acks=all sends 20 records per
second. Then the leader crashes. The number `run` determines when the followers restart and when the
leader crashes. With `down=1`, the first candidate crashes together with the leader.
"""

# %%
@scenario(seed=5, brokers=3, limits={"lease_us": seconds(1)})
def failover(world: World, *, run: int = 0, down: int = 0, rate: int = 20) -> Script:
    """The leader crashes, with the first candidates."""
    random, period_us = Random(run), world.config.lease_renew_us
    yield world.until_ready()
    old = str(world.leader)
    candidates = [node for node in world.isr if node != old]
    for node in candidates:
        world.crash(node, for_us=millis(1) + random.randrange(period_us))
    yield world.until_converged()
    producer = world.producer(rate_per_s=rate) if rate else None
    yield world.sleep(2 * period_us + random.randrange(period_us))

    begin = world.now_us
    world.figure("crash us", begin)
    for node in [old, *candidates[:down]]:
        world.crash(node)
    yield world.until(lambda: world.leader not in (None, old), within=seconds(20))
    world.figure("window ms", (world.now_us - begin) // 1000)
    world.figure("first candidate elected", world.leader == candidates[down])
    if producer is None:
        return
    acked = producer.acked_count
    yield world.until(lambda: producer.acked_count > acked, within=seconds(20))
    world.figure("no ack ms", (world.now_us - begin) // 1000)
    world.restart(old)
    yield world.sleep(seconds(0.5))
    producer.stop()
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()


# %% [markdown]
"""
## Predict

The lease is 1 s, a renewal comes every 300 ms, the stagger is 200 ms. Both followers run. **How
long is the window at least, and how long at most?** Draw a line for the time, with the renewals of
the leader, the readings of the first candidate, and the crash. Move them. Then write your bounds in
milliseconds here. (Messages and disks take some milliseconds. Ignore them.)
"""

# %%
my_guess_shortest_ms = 1000
my_guess_longest_ms = 1100

# %% [markdown]
"""
## Run

n2 is the first leader: it registered first, so the ISR was n2 alone.
One line looks strange: n3 joins the ISR after its crash. The leader sent this change to the
metadata store before the crash, and n3 is back before any broker notices its crash.
"""

# %%
result = run_scenario(failover, on_line=print)
print("valid:", result.valid)
config = result.world.config
assert (config.lease_us, config.lease_renew_us) == (seconds(1), millis(300))
assert config.election_stagger_us == millis(200)
plot_watermarks(result.trace, from_us=result.figures["crash us"] - millis(300))

# %% [markdown]
"""
Look at the acks after the election. n2 is not their cause: the scenario restarts n2 after the first
one. The next cell shows the epochs in the log of the new leader.
"""

# %%
window_ms, no_ack_ms = result.figures["window ms"], result.figures["no ack ms"]
print(f"{window_ms} ms without a leader, {no_ack_ms} ms from the crash to the next ack.")
new = result.world.leader
for epoch, batches in groupby(result.world.log_of(new), key=lambda batch: batch.epoch):
    offsets = [batch.base_offset for batch in batches]
    print(f"{new}: offsets {offsets[0]:>2} to {offsets[-1]:>2} are of epoch {epoch}")
assert result.goals["leaders elected"] == 2
assert result.figures["records_acked"] == result.figures["records_sent"]

# %% [markdown]
"""
## Explain

1. The ISR had three members, and min ISR is 2. Why can the new leader commit records at once, and
   does not wait for the broker that is down?
2. The producer sends on during the window. Are these records lost?
3. The time until the next ack is longer than the window. Why?
4. The old leader restarts. It was the leader when it crashed, and its disk says so. How does it
   find out that it is not the leader any more?

<details><summary>Answers</summary>

1. The write of the campaign contains the new leader, the next epoch and the ISR without the old
   leader. From then on the HW depends on two brokers. (If another *follower* is down, commits wait
   until it leaves the ISR, as in lesson 4.)
2. No. The producer keeps them and sends them again. In the end all records are acknowledged, and
   each is in the log once. Lesson 8 shows how.
3. The producer does not see the election. It asks another broker after a timeout or a refused
   connection, waits a little, and sends again.
4. A broker that starts reads the metadata store first, and finds epoch 2 with another leader.
   Also, each message has the epoch of its sender, and a broker refuses a message with a lower epoch
   than its own. So a leadership that has ended cannot change anything, even if the old leader does
   not know that it has ended. Each record has the epoch in which it was appended, too. Lessons 6
   and 7 use both.

</details>

## Modify: 500 crashes

The next cell runs 500 failovers. The restarts of the followers and the crash are at other moments
in each run. The plot gives, for each number of milliseconds, the share of the runs with a window
that is not longer. The dashed lines are your two numbers.
"""


# %%
def failovers(runs: int, **settings: int) -> list[dict[str, int]]:
    """Return the figures of each run; without the checkers, to save time."""
    figures = []
    for run in range(runs):
        done = run_scenario(failover, run, {"run": run, "rate": 0, **settings}, observers=())
        assert done.valid is True
        figures.append(done.figures)
    return figures


crashes = failovers(500)
measured = [each["window ms"] for each in crashes]
plot_distribution(
    measured,
    label="window in ms",
    title="500 crashes: the window without a leader",
    marks={"your shortest": my_guess_shortest_ms, "your longest": my_guess_longest_ms},
)

# %%
outside = [w for w in measured if not my_guess_shortest_ms <= w <= my_guess_longest_ms + 20]
print(f"The window is {min(measured)} to {max(measured)} ms.")
print(f"{len(outside)} of 500 windows are not between your bounds.")
by_second = [each["window ms"] for each in crashes if not each["first candidate elected"]]
print(f"The second candidate won {len(by_second)} times, in windows of", end=" ")
print(f"{min(by_second)} to {max(by_second)} ms.")
assert 700 <= min(measured) < 800
assert 1300 < max(measured) <= 1420
assert 0 < len(by_second) < 100

# %% [markdown]
"""
Correct your two numbers, and run the last three cells again, until you can say where each end of
the curve comes from.

1. The lease is 1 s, and some windows are much shorter than 1 s. How is this possible?
2. What has to come together for the longest window?
3. Why are windows near both ends so rare?

<details><summary>Answers</summary>

1. The clock of the candidate starts when it reads the last count, and this is *before* the crash if
   the last renewal is old. In the best case the renewal is almost 300 ms old at the crash and was
   read at once. Then 700 ms are left.
2. The leader crashes right after a renewal. The candidate reads the store just before that renewal,
   so it sees the new count only 300 ms later. Then it waits for 1 s, and for the longest random
   time: half a stagger, 100 ms. In total 1,400 ms.
3. Three times have to be at the ends of their ranges together: the age of the last renewal, the
   moment of the reading, and the random time. The longest windows are even rarer: a second
   candidate that has read the count more than 100 ms before the first one can campaign first, and
   this ends the window.

</details>

## Modify: a short lease has a price

A short lease gives a short window. In the next scenario *no* broker crashes. The leader only stands
still for 0.8 s, for example in a garbage collection. In how many of ten runs does it lose its
leadership, with each lease?
"""


# %%
@scenario(seed=5, brokers=3)
def short_pause(world: World, *, run: int = 0, pause_ms: int = 800) -> Script:
    """The leader stands still for a short time."""
    yield world.until_ready()
    producer = world.producer(rate_per_s=20)
    period_us = world.config.lease_renew_us
    yield world.sleep(2 * period_us + Random(run).randrange(period_us))
    epoch = world.broker(str(world.leader)).epoch
    world.pause(str(world.leader), for_us=millis(pause_ms))
    yield world.sleep(seconds(1.5))
    producer.stop()
    yield world.until_converged()
    world.figure("needless elections", world.broker(str(world.leader)).epoch - epoch)
    world.expect.nothing_acked_is_lost()


needless = dict.fromkeys((500, 1000, 3000), 0)
print("lease      renewal  elections in ten runs")
for lease_ms, renew_ms in ((500, 150), (1000, 300), (3000, 300)):
    limits = {"lease_us": millis(lease_ms), "lease_renew_us": millis(renew_ms)}
    for run in range(10):
        paused = run_scenario(short_pause, run, {"run": run, **limits}, observers=())
        assert paused.valid is True
        needless[lease_ms] += paused.figures["needless elections"]
    print(f"{lease_ms:>5} ms {renew_ms:>6} ms {needless[lease_ms]:>8}")
assert needless[500] == 10 > needless[1000] > needless[3000] == 0

# %% [markdown]
"""
With a lease of 500 ms, a healthy leader loses its leadership in each run. (The renewals come every
150 ms there, because 300 ms are too much for so short a lease.) With 1 s it loses it in some runs:
only if the last renewal is old, because the shortest window is 0.7 s. No record is lost: a wrong
suspicion costs time, and nothing else. The lease decides *when* a broker campaigns. Which records
are safe is decided by the ISR and the epochs. So with acks=all, no clock has to be exact. If only
the metadata store is down, no broker can be elected. The leader still confirms records with
acks=all. When its lease has expired, it refuses acks=0 and acks=1 (lesson 6).

## Exercise: the bounds

Write the function that returns the shortest and the longest window in milliseconds, as a pair. Its
arguments are

- `lease`, `renew`, `stagger`: the settings in milliseconds;
- `down`: how many candidates are down together with the leader. They are the first ones, so the
  candidate after them is the next leader. All brokers that are down are still in the ISR.

The function below runs, but its result is wrong. Correct it.
"""


# %%
def window_bounds(lease: int, renew: int, stagger: int, down: int) -> tuple[int, int]:
    """Return the shortest and the longest window in milliseconds."""
    return lease, lease + renew


# %% [markdown]
"""
The grader does not contain the formula. It plays each failover millisecond by millisecond, with
crashes and readings at the ends of a period, and rounds its bounds outward to 10 ms.
"""


# %%
def play(lease, renew, stagger, down, crash, reading, luck) -> int:
    """Return the window of one failover: the leader renews at 0, renew, 2 * renew and so on."""
    count, known, clock, now = 0, 0, 0, 0
    while True:
        if now % renew == 0 and now <= crash:
            count += 1
        if now % renew == reading and known != count:
            known, clock = count, now
        if now > crash and now - clock >= lease + down * stagger + luck:
            return now - crash
        now += 1


def explain(*runs: tuple[int, int, int, int]) -> str:
    """Return a text about the runs with the shortest and the longest window."""
    return "; ".join(
        f"the window is {window} ms if the last renewal is {age} ms old at the crash, the "
        f"candidate reads it {reading} ms after it was written, and the random time is {luck} ms"
        for window, age, reading, luck in runs
    )


def cases():
    """Yield all cases, each with the bounds of its failovers."""
    settings = ((600, 100, 200), (600, 300, 200), (1000, 200, 400), (1000, 500, 200))
    for (lease, renew, stagger), down in product(settings, range(3)):
        runs = []
        corners = (0, renew // 2, renew - 1)
        for age, reading, luck in product(corners, corners, (0, stagger // 2)):
            window = play(lease, renew, stagger, down, 2 * renew + age, reading, luck)
            runs.append((window, age, reading, luck))
        bounds = min(runs)[0] // 10 * 10, -(-max(runs)[0] // 10) * 10
        situation = f"With lease {lease}, renew {renew}, stagger {stagger} and down {down}"
        yield Case((lease, renew, stagger, down), bounds, situation, explain(min(runs), max(runs)))


passed = grade(window_bounds, cases())

# %% [markdown]
"""
## Stretch: compare your bounds with the cluster

The next cell has other settings as well: a long stagger, and four brokers of which two crash
together. The last line has a short lease with frequent renewals. Your bounds must contain each
window (20 ms are for messages and disks), and the windows must come near both of them (within
180 ms).

Are there settings with all windows below 500 ms, in which a leader never loses its leadership by a
pause of 0.4 s? What would it cost?

<details><summary>Answer</summary>

Yes, if the stagger is short, too. A pause of 0.4 s costs nothing if the shortest window is longer
than that. The longest window contains half a stagger. With a lease of 440 ms, a renewal every 20 ms
and a stagger of 20 ms, the bounds are 420 and 470 ms; the next cell runs it. (A heartbeat must come
more often than a renewal.) Each renewal is a write to the metadata store, so the load of the store
grows. With a short stagger, two candidates campaign at the same time more often, and the store
refuses one of them.

</details>
"""


# %%
def fits(name: str, runs: list[dict[str, int]], bounds: tuple[int, int]) -> bool:
    """Return whether the bounds contain all windows, and windows are near both."""
    shortest, longest = bounds
    found = [each["window ms"] for each in runs]
    inside = shortest <= min(found) and max(found) <= longest + 20
    tight = max(min(found) - shortest, longest - max(found)) <= 180
    verdict = "they fit" if inside and tight else "not tight" if inside else "wrong"
    print(f"{name:<25} windows {min(found):>4} to {max(found):>4} ms,", end=" ")
    print(f"your bounds {shortest:>4} to {longest:>4} ms: {verdict}")
    return inside and tight


long_stagger = failovers(60, election_stagger_us=millis(400))
two_down = failovers(60, brokers=4, down=1, lease_renew_us=millis(200))
quick = {
    "lease_us": millis(440),
    "lease_renew_us": millis(20),
    "election_stagger_us": millis(20),
    "replicate_heartbeat_us": millis(10),
}
compared = (
    fits("as above", crashes, window_bounds(1000, 300, 200, 0)),
    fits("stagger 400 ms", long_stagger, window_bounds(1000, 300, 400, 0)),
    fits("a candidate down, too", two_down, window_bounds(1000, 200, 200, 1)),
    fits("frequent renewals", failovers(60, **quick), window_bounds(440, 20, 20, 0)),
)
for run in range(10):
    paused = run_scenario(short_pause, run, {"run": run, "pause_ms": 400, **quick}, observers=())
    assert paused.figures["needless elections"] == 0
agrees = all(compared)
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| each broker watches the leader's lease | the controller watches the heartbeats of brokers |
| a lease of 3 s by default | 9 s (`broker.session.timeout.ms`) |
| a renewal every 300 ms | a heartbeat every 2 s (`broker.heartbeat.interval.ms`, KIP-631) |
| candidates campaign, with a stagger | the controller chooses the first replica in the ISR |
| no election while the store is down | none without a majority of the controllers (KIP-595) |
| the lease also has to expire after a clean stop | a leader that stops hands over first |

Before KIP-500 the detection was a session of ZooKeeper: 18 s by default since KIP-537, 6 s before.
The rules have the numbers R2, R14 and R16 in `docs/protocol.md`.

**Next:** lesson 6, an old leader that does not know that its leadership has ended.
`scenarios/leader_failover.py` crashes a leader with committed, unreplicated and unflushed records:
`yak sim run leader_failover`.
"""
