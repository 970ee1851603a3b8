# %% [markdown]
"""
# Lesson 1. First plot: log, offsets, LEO against HW

You will run three brokers that replicate one log, slow one of them down, and see in a plot what its
colleagues wait for. Then you write the rule by which they wait, and let it run the cluster.

*Time:* 45 minutes. *You need:* to read Python; nothing of Kafka. Run the cells from top to bottom.
Nothing here can break: the brokers are simulated, and one number, the *seed*, decides everything
that is left to chance. The same seed gives the same run on every machine.

| word | what it means |
| --- | --- |
| log | a list of records that grows at its end only |
| offset | the number of a record in the log, from 0 on; it never changes |
| LEO, *log end offset* | the offset that the next record will get; each broker has its own |
| leader, follower | one broker takes new records, the others copy them from it |
| ISR, *in-sync replicas* | the brokers that have to hold a record before it counts |
| HW, *high watermark* | everything below it is committed: each in-sync replica has it |
"""

# %%
from dataclasses import replace
from random import Random

from scenarios.slow_follower import slow_follower
from yak_core import Rules, advance_high_watermark, digest_of
from yak_sim import (
    Script,
    World,
    describe,
    millis,
    plot_watermarks,
    run_scenario,
    scenario,
    seconds,
)

# %% [markdown]
"""
## The story

A scenario is a Python function that says what happens to the world, step by step. `yield` means
"let time pass". Here a producer sends 20 records a second. After one second everything that the
leader says to one of its followers takes half a second (`delay_ms`) longer than usual. 1.4 seconds
later we note where everybody is, and mend the link.

The followers copy from the leader, and tell it how far they have come.
"""

# %%
RATE_PER_S = 20


@scenario(seed=1, brokers=3)
def first_plot(world: World, *, delay_ms: int = 500) -> Script:
    """One follower hears of each record late."""
    yield from world.until_ready()
    leader = str(world.leader)
    late = next(node for node in reversed(world.brokers) if node != leader)
    # acks="1": the producer goes on as soon as the leader has a record (lesson 3 has the price).
    producer = world.producer(rate_per_s=RATE_PER_S, acks="1")
    consumer = world.consumer()
    yield world.sleep(seconds=1)

    slow = world.slow_link(leader, late, delay_us=millis(delay_ms))
    yield world.sleep(seconds=1.4)
    world.tell("this is the moment of the table below")
    for node in world.brokers:
        world.figure(f"LEO of {node}", world.broker(node).leo)
        world.figure(f"HW of {node}", world.broker(node).hw)
    world.figure("read", len(consumer.reads))
    world.figure("gap", world.broker(leader).leo - world.broker(leader).hw)

    world.heal(slow)
    yield world.sleep(seconds=1)
    producer.stop()
    yield world.until(lambda: producer.finished, within=seconds(5))
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.logs_converge()


# %% [markdown]
"""
## Predict

At the moment of the table the link has been slow for 1.4 seconds. The leader's LEO counts all
records that it has; its HW counts those that it knows to be on *every* in-sync replica, the late
one too.

**How many records lie between the leader's LEO and its HW?** Think of how many records the producer
sends while one of them is under way. Write your number down here before you go on.
"""

# %%
my_guess = 4

# %% [markdown]
"""
## Run

Each line of the story says when, what, and what the leader knows: its epoch (how many leaders there
have been, lesson 5) and its HW.
"""

# %%
result = run_scenario(first_plot, on_line=print)
print("valid:", result.valid)
for expectation in result.expectations:
    print("proved:", expectation.sentence)

# %% [markdown]
"""
And the plot. Each broker has a colour and a marker: its HW is the thick line, its LEO the thin
dashed one. The lines of different brokers are drawn a little apart, so that you see all of them.
The darker ground is the time in which the link was slow.
"""

# %%
plot_watermarks(result.trace)

# %%
print("The same in words:", describe(result.trace))

# %% [markdown]
"""
## Explain

Were you right?
"""

# %%
gap = result.figures["gap"]
print(f"You said {my_guess}, it was {gap}:", "well done!" if my_guess == gap else "think again.")
print()
print("broker     LEO   HW    (when the link had been slow for 1.4 s)")
for node in result.world.brokers:
    leo, hw = result.figures[f"LEO of {node}"], result.figures[f"HW of {node}"]
    print(f"{node:<9}{leo:>5}{hw:>5}" + ("    leads" if node == result.world.leader else ""))
print(f"The consumer had read {result.figures['read']} records.")

# %% [markdown]
"""
Look at the plot and the table, and answer for yourself. Each answer is one sentence.

1. When the link becomes slow, *all three* HWs stand still, but only one LEO. Why all three?
2. Half a second later they rise again, below the leader's LEO. What decides by how much? And why
   is the late follower's LEO hidden under the HWs of the other two?
3. The late follower's HW is even lower than its LEO, by about the same distance again. What does it
   have to hear, and from whom, before it can raise its HW? How old is that news?
4. The consumer could have been given records up to the leader's LEO. It got those below the HW.
   What could happen to the others if the leader died at this moment?

<details><summary>Answers</summary>

1. A record is committed when **every** in-sync replica has it: the slowest one decides for all.
2. What is sent while a record is under way: for half a second, 20 records a second. The HW is the
   lowest LEO in the ISR, and that is the late follower's.
3. The leader tells its followers the HW along with the next records, so this news too is half a
   second old when it comes. (Even the quick follower is one message behind.)
4. Not every replica has them. The next leader may be one that does not, and the consumer would have
   read what is in no log.

</details>
"""

# %% [markdown]
"""
## Modify

Other delays. Say for each one what the gap will be before you run the cell; then add delays of your
own, and change `RATE_PER_S` above. (From 16 records under way on something else sets in: a leader
leaves at most 16 messages to a follower unanswered, then waits, and puts more records into each.)
"""

# %%
for delay_ms in (0, 100, 250, 500):
    changed = run_scenario(first_plot, settings={"delay_ms": delay_ms})
    gap = changed.figures["gap"]
    print(f"{delay_ms:>4} ms: {gap:>3} records not committed  {'#' * gap}")

# %% [markdown]
"""
## Exercise: the rule

Write the rule by which a leader moves its high watermark. It knows

- `leos`: how far each replica's log reaches as far as the leader has heard, such as
  `{"n1": 50, "n2": 50, "n3": 40}`;
- `isr`: who is in sync, such as `("n1", "n2")`. The others are being copied to, and do not count;
- `hw`: the high watermark up to now. A new leader may have heard less of its followers than the
  leader before it, but what was committed once is committed for good.

It returns the new high watermark. Below is a first try. It runs, and it is wrong: mend it.
"""


# %%
def high_watermark(leos: dict[str, int], isr: tuple[str, ...], hw: int) -> int:
    """The offset below which everything is committed."""
    return min(leos.values())


# %% [markdown]
"""
The grader asks your rule and the protocol's own the same questions, a few simple ones and then
2,000 random ones, and tells you about the first answer that differs. You need not read it.
"""


# %%
def questions(number: int = 2000, seed: int = 1):
    """(leos, isr, hw): simple ones first, then random ones, the same in each run."""
    yield {"n1": 5, "n2": 3, "n3": 4}, ("n1", "n2", "n3"), 0
    yield {"n1": 9, "n2": 9, "n3": 4}, ("n1", "n2"), 4
    yield {"n1": 6, "n2": 4, "n3": 5}, ("n1", "n2", "n3"), 5
    random = Random(seed)
    for _ in range(number):
        nodes = [f"n{i}" for i in range(1, random.randint(1, 5) + 1)]
        isr = tuple(sorted(random.sample(nodes, random.randint(1, len(nodes)))))
        yield {node: random.randint(0, 20) for node in nodes}, isr, random.randint(0, 20)


def why(leos: dict[str, int], isr: tuple[str, ...], hw: int, answer: int, right: int) -> str:
    """One sentence on what is wrong with an answer."""
    last = min(isr, key=lambda node: leos[node])
    if answer > right:
        return f"{last} is in the ISR and has only what is below {leos[last]}, so more is not safe"
    outside = [node for node in leos if node not in isr and leos[node] == answer]
    if outside:
        return f"{outside[0]} is not in the ISR, so nobody waits for it"
    if answer < hw:
        return "it went back: what was committed once is committed for good"
    return f"every replica in the ISR has all records below {right}, so more is committed"


def grade(rule) -> bool:
    """Whether a rule is the protocol's; prints one sentence on the first wrong answer."""
    first, wrong, asked = "", 0, 0
    for leos, isr, hw in questions():
        asked += 1
        right = advance_high_watermark(hw, isr, isr, leos, min_isr=1)
        ends = " ".join(f"{node}={leo}" for node, leo in leos.items())
        question = f"With the LEOs {ends}, the ISR {' '.join(isr)} and a high watermark of {hw}"
        try:
            answer = rule(dict(leos), isr, hw)
        except Exception as error:
            print(f"{question} your rule raised {type(error).__name__}: {error}.")
            return False
        if type(answer) is not int:
            print(f"{question} your rule returned {answer!r}; an offset is a whole number.")
            return False
        if answer != right:
            wrong += 1
            reason = why(leos, isr, hw, answer, right)
            first = first or f"{question} you say {answer}, the protocol {right}: {reason}."
    if wrong:
        print(f"{wrong} of {asked} answers are wrong. The first: {first}")
        return False
    print(f"All {asked} answers are right: your rule is the protocol's.")
    return True


# %%
passed = grade(high_watermark)

# %% [markdown]
"""
## Stretch: your rule runs the cluster

The brokers' decisions are plain functions, held in one object, `Rules`. Here your rule takes the
place of one of them, in another story, in which a follower becomes so slow that it is put out of
the ISR for a while. Checkers watch every step. A rule that is too careful holds everybody up; one
that is too bold breaks a promise, and the checkers name it. Your rule decides everything as the
protocol's does when the two digests are equal: a digest stands for all that happened in a run.

Try `max(leos.values())` too. Which promise does it break?
"""


# %%
def advance(hw, committed, maximal, positions, min_isr):
    """Your rule, as a broker calls it; lesson 3 has min ISR, lesson 4 the two kinds of ISR."""
    if len(committed) < min_isr or any(node not in positions for node in maximal):
        return hw
    return high_watermark(dict(positions), maximal, hw)


mine = run_scenario(slow_follower, rules=replace(Rules(), advance_high_watermark=advance))
protocols = run_scenario(slow_follower)
print("valid:", mine.valid, "-", mine.reason or "nothing was wrong.")
print("The same decisions:", digest_of(mine.trace) == digest_of(protocols.trace))

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| a leader sends its followers the records | they fetch them; each fetch tells their LEO |
| the HW comes with the next records | the same: with the answer to the next fetch |
| one log | many topics of many partitions; each partition is such a log |
| in this lesson, a record a batch | many records a batch; offsets still count records |
| out of the ISR after a lag of 2 s | after 30 s (`replica.lag.time.max.ms`) |
| below min ISR the HW stands still | the same with KIP-966; before it, the HW went on |

Log, offset, LEO, HW and ISR mean the same, and the records are in Kafka's own format.

**Next:** lesson 2, replication and why the HW trails. The story of the stretch is a program too:
`yak sim run slow_follower --seed 3` draws its plot into `out/slow_follower/3/`.
"""
