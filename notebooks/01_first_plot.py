# %% [markdown]
"""
# Lesson 1. First plot: log, offsets, LEO against HW

You run three brokers that replicate one log. You slow down one follower, and see in a plot that all
commits wait for it. Then you write the rule for these commits yourself, and run the cluster with
your rule.

*Time:* 45 minutes. *You need:* basic Python. You do not need to know Kafka. Run the cells from top
to bottom. You cannot break anything, because the brokers are simulated. One number, the *seed*,
determines all random values. The same seed gives the same run on every machine.

| term | meaning |
| --- | --- |
| record, batch | one value in the log; a batch is some records that are sent together |
| broker, replica | a server; each broker here stores one copy of the log, a *replica* |
| producer, consumer | a producer sends records to the leader; a consumer reads committed records |
| log | a list of records; new records are appended at its end |
| offset | the number of a record in the log, starting at 0; it never changes |
| LEO, *log end offset* | the offset of the next record; each broker has its own LEO |
| leader, follower | the leader appends new records; the followers replicate them |
| ISR, *in-sync replicas* | the brokers that must have a record before it is committed |
| HW, *high watermark* | every record below it is committed: all in-sync replicas have it |
"""

# %%
from dataclasses import replace
from random import Random

from yak_core import Rules, advance_high_watermark, digest_of
from yak_sim import (
    Script,
    World,
    describe,
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

A scenario is a Python function that controls the simulated cluster. `yield` lets simulated time
pass. In this scenario a producer sends 20 records per second. After one second, each message from
the leader to one of the followers takes half a second (`delay_ms`) longer than usual. 1.4 seconds
later the scenario saves the LEO and the HW of each broker, and ends the delay.

The leader sends its records to the followers. Each follower acknowledges the records that it has
appended.
"""

# %%
RATE_PER_S = 20


@scenario(seed=1, brokers=3)
def first_plot(world: World, *, delay_ms: int = 500) -> Script:
    """One follower receives each record late."""
    yield world.until_ready()
    leader = str(world.leader)
    delayed = next(node for node in reversed(world.brokers) if node != leader)
    # acks="1": a record is acknowledged when the leader has it (lesson 3 shows the risk).
    producer = world.producer(rate_per_s=RATE_PER_S, acks="1")
    consumer = world.consumer()
    yield world.sleep(seconds(1))

    slow = world.slow_link(leader, delayed, delay_us=millis(delay_ms))
    yield world.sleep(seconds(1.4))
    world.tell("time of the table below")
    for node in world.brokers:
        world.figure(f"LEO of {node}", world.broker(node).leo)
        world.figure(f"HW of {node}", world.broker(node).hw)
    world.figure("read", len(consumer.reads))
    world.figure("gap", world.broker(leader).leo - world.broker(leader).hw)

    world.heal(slow)
    yield world.sleep(seconds(1))
    producer.stop()
    yield world.until(lambda: producer.finished, within=seconds(5))
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.logs_converge()


# %% [markdown]
"""
## Predict

At the time of the table, the link has been slow for 1.4 seconds. The LEO of the leader counts all
records in its log. The HW of the leader counts the records that *every* in-sync replica has
acknowledged, including the slow follower.

**How many records are between the LEO and the HW of the leader?** Hint: how many records does the
producer send while one record is in flight? Write your number here before you continue.
"""

# %%
my_guess = 4

# %% [markdown]
"""
## Run

Each line shows the time, the event, and the leader with its epoch and its HW. *valid: True* means
that no check of the run has found an error. Each broker *registers* when it starts, and a broker
that wants to be the leader *campaigns*. The epoch is the number of the current leadership: each
election increases it (lesson 5).
"""

# %%
result = run_scenario(first_plot, on_line=print)
print("valid:", result.valid)
for expectation in result.expectations:
    print("proved:", expectation.sentence)

# %% [markdown]
"""
The plot shows the offsets over time. Each broker has a colour and a marker. The thick line is its
HW, the thin dashed line is its LEO. A note at the top right says how lines with equal values are
drawn, so that you can see all of them. The darker background marks the time in which the link was
slow. After it, the gap stays for about half a second, until the delayed messages have arrived. The
rows below show who is in the ISR, the acknowledgements to the producer, and the faults.
"""

# %%
plot_watermarks(result.trace)

# %%
print("Description of the plot:", describe(result.trace))

# %% [markdown]
"""
## Explain

Compare your number with the result.
"""

# %%
gap = result.figures["gap"]
print(f"Your number: {my_guess}. Result: {gap}.", "Correct." if my_guess == gap else "Not correct.")
print()
print("broker     LEO   HW    (after the link was slow for 1.4 s)")
for node in result.world.brokers:
    leo, hw = result.figures[f"LEO of {node}"], result.figures[f"HW of {node}"]
    print(f"{node:<9}{leo:>5}{hw:>5}" + ("    leader" if node == result.world.leader else ""))
print(f"The consumer had read {result.figures['read']} records.")

# %% [markdown]
"""
Look at the plot and the table, and answer these questions. One or two sentences are enough.

1. When the link becomes slow, *all three* HWs stop, but only one LEO stops. Why do all three HWs
   stop?
2. Half a second later, the HWs of the leader and of the fast follower rise again, but they stay
   below the leader's LEO. What determines the distance? Why is the LEO curve of the slow follower
   on the HW curves of the other two brokers?
3. The HW of the slow follower is lower than its LEO, by about the same distance again. Which
   message raises its HW? How old is the HW in that message?
4. The consumer has read the records below the HW. The leader has more records. What could happen to
   these records if the leader crashed now?

<details><summary>Answers</summary>

1. A record is committed when **every** in-sync replica has it. The slowest replica determines the
   HW of the leader, and the followers receive this HW.
2. The number of records sent in half a second, at 20 records per second. The HW is the lowest LEO
   in the ISR, which is the LEO of the slow follower.
3. The leader sends its HW with the next records. The HW is half a second old when it arrives at the
   slow follower. So this follower sees the rise of the leader's HW half a second after the others:
   about one second after the start of the delay. (The HW of the fast follower is also one message
   old.)
4. Not every replica has these records. If a replica without them becomes the leader, they are lost.
   A consumer that had read them would have read records that are in no log.

</details>
"""

# %% [markdown]
"""
## Modify

Try other delays. Predict the gap for each delay before you run the cell. Then add your own delays,
and change `RATE_PER_S` above. (There is a limit: a leader has at most 16 messages in flight to each
follower. With 500 ms it reaches the limit above 16 / 0.5 = 32 records per second. Then it waits,
and sends more records in each message. The gap can then be larger than rate times delay. And a
delay above 1.4 s gives the gap of 1.4 s, because the table shows that time.)
"""

# %%
for delay_ms in (0, 100, 250, 500):
    changed = run_scenario(first_plot, settings={"delay_ms": delay_ms})
    gap = changed.figures["gap"]
    print(f"{delay_ms:>4} ms: {gap:>3} records not committed  {'#' * gap}")

# %% [markdown]
"""
## Exercise: the rule

Write the rule that determines the high watermark of a leader. Its arguments are

- `leos`: the LEO of each replica, as the leader knows it, for example
  `{"n1": 50, "n2": 50, "n3": 40}`;
- `isr`: the in-sync replicas, for example `("n1", "n2")`. The other replicas also receive records,
  but the HW does not depend on them;
- `hw`: the current high watermark. A new leader may know lower LEOs than the previous leader knew,
  but a committed record stays committed.

The rule returns the new high watermark. The function below runs, but its result is wrong. Correct
it.
"""


# %%
def high_watermark(leos: dict[str, int], isr: tuple[str, ...], hw: int) -> int:
    """Return the offset below which all records are committed."""
    return min(leos.values())


# %% [markdown]
"""
The grader calls your rule and the rule of the protocol with the same arguments: some simple cases
and 2,000 random cases. It shows the first result that differs. You do not need to read its code.
"""


# %%
def cases(number: int = 2000, seed: int = 1):
    """Yield (leos, isr, hw): simple cases, then random cases, the same in each run."""
    yield {"n1": 5, "n2": 3, "n3": 4}, ("n1", "n2", "n3"), 0
    yield {"n1": 9, "n2": 9, "n3": 4}, ("n1", "n2"), 4
    yield {"n1": 6, "n2": 4, "n3": 5}, ("n1", "n2", "n3"), 5
    random = Random(seed)
    for _ in range(number):
        nodes = [f"n{i}" for i in range(1, random.randint(1, 5) + 1)]
        isr = tuple(sorted(random.sample(nodes, random.randint(1, len(nodes)))))
        yield {node: random.randint(0, 20) for node in nodes}, isr, random.randint(0, 20)


def explain(leos: dict[str, int], isr: tuple[str, ...], hw: int, answer: int, expected: int) -> str:
    """Return one sentence about the error in an answer."""
    slowest = min(isr, key=lambda node: leos[node])
    if answer > expected:
        return f"{slowest} is in the ISR and only has the records below {leos[slowest]}"
    outside = [node for node in leos if node not in isr and leos[node] == answer]
    if outside:
        return f"{outside[0]} is not in the ISR, so the HW does not depend on its LEO"
    if answer < hw:
        return "the HW must not decrease, because a committed record stays committed"
    return f"every replica in the ISR has all records below {expected}"


def grade(rule) -> bool:
    """Return whether a rule equals the rule of the protocol; print the first wrong answer."""
    first, wrong, case_count = "", 0, 0
    for leos, isr, hw in cases():
        case_count += 1
        expected = advance_high_watermark(hw, isr, isr, leos, min_isr=1)
        ends = " ".join(f"{node}={leo}" for node, leo in leos.items())
        case = f"With the LEOs {ends}, the ISR {' '.join(isr)} and the high watermark {hw}"
        try:
            answer = rule(dict(leos), isr, hw)
        except Exception as error:
            print(f"{case}, your rule raised {type(error).__name__}: {error}.")
            return False
        if type(answer) is not int:
            print(f"{case}, your rule returned {answer!r}, expected an integer.")
            return False
        if answer != expected:
            wrong += 1
            reason = explain(leos, isr, hw, answer, expected)
            error = f"your rule returned {answer}, expected {expected}: {reason}"
            first = first or f"{case}, {error}."
    if wrong:
        print(f"{wrong} of {case_count} answers are wrong. The first: {first}")
        return False
    print(f"All {case_count} answers are correct: your rule equals the rule of the protocol.")
    return True


# %%
passed = grade(high_watermark)

# %% [markdown]
"""
## Stretch: run the cluster with your rule

The decisions of the brokers are plain functions in one object, `Rules`. The next cell replaces one
of them by your rule and runs another scenario. In this scenario a follower becomes so slow that the
leader removes it from the ISR for some time. Checkers verify every step. If your HW is too low,
commits take too long. If it is too high, a checker reports the guarantee that your rule violates. A
digest identifies the complete run. If the two digests are equal, your rule made the same decisions
as the rule of the protocol.

Also try `max(leos.values())`. Which guarantee does it violate?

<details><summary>Answer</summary>

"Every record below the HW is on all in-sync replicas." The slow replica can become the leader, and
then records that were called committed are lost.

</details>
"""


# %%
def advance(hw, committed, maximal, positions, min_isr):
    """Call your rule as a broker does; lesson 3 explains min ISR and the two ISRs."""
    if len(committed) < min_isr or any(node not in positions for node in maximal):
        return hw
    return high_watermark(dict(positions), maximal, hw)


slow_follower = load_scenario("slow_follower")
with_your_rule = run_scenario(slow_follower, rules=replace(Rules(), advance_high_watermark=advance))
with_protocol_rule = run_scenario(slow_follower)
print("valid:", with_your_rule.valid, "-", with_your_rule.reason or "no violation")
print("Equal digests:", digest_of(with_your_rule.trace) == digest_of(with_protocol_rule.trace))

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| the leader pushes records to its followers | followers fetch; each fetch contains their LEO |
| the HW comes with the next records | the same: with the next fetch response |
| one log | many topics with many partitions; each partition is one log |
| one record per batch in this lesson | many records per batch; offsets still count records |
| removed from the ISR after a lag of 2 s | after 30 s (`replica.lag.time.max.ms`) |
| below min ISR (lesson 3) the HW does not advance | the same since 3.7 (KAFKA-15583) |

Log, offset, LEO, HW and ISR have the same meaning in Kafka. The records have Kafka's format.

**Next:** lesson 2, replication and the delay of the HW. You can also run the scenario of the last
section from the command line: `yak sim run slow_follower --seed 3` writes its plot to
`out/slow_follower/3/`.
"""
