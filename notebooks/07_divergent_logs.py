# %% [markdown]
"""
# Lesson 7. Divergent logs and truncation

After this lesson you can say which records a broker has to remove from its log when it gets a new
leader. You have seen how two rules of earlier Kafka versions lose a committed record, or leave
different records at the same offset. You write the rule that Kafka has used since 2018.

*Time:* 75 minutes. *You need:* lessons 2 (the HW trails), 5 (elections, epochs) and 6 (fencing).
Run the cells from top to bottom.

| term | meaning |
| --- | --- |
| tail | the records at the end of a log that are not committed |
| to truncate | to remove the records at and above an offset, the *truncation point* |
| divergent logs | two logs with different records at the same offset |
| `a/1` | the record a, appended in epoch 1 |
| ELR | brokers that left the ISR when it was below min ISR; they have every committed record |
| KIP | *Kafka improvement proposal*, a public document about a change of Kafka |
"""

# %%
from collections.abc import Callable
from dataclasses import replace

from yak_core import Rules, records
from yak_sim import (
    Case,
    RunResult,
    Script,
    World,
    grade,
    load_scenario,
    plot_watermarks,
    run_scenario,
    scenario,
    seconds,
)

# %% [markdown]
"""
## The question

A leader appends records that it cannot send to all followers, and crashes. The next leader does not
have these records, and appends others at the same offsets. When the old leader is back, its log
must become equal to that of the new leader: it truncates its log, and replicates the rest.

**At which offset?** If the point is too low, the broker removes records that may be committed. If
it is too high, the logs stay different for ever: a follower receives only records from its own LEO
on.

Only one broker leads an epoch, and it appends one record at an offset. So two records with equal
offset and equal epoch are the same record. All records before them must be equal, too: before a
broker copies a record from the leader of an epoch, it makes its log equal to that of this leader.

The next cell puts a rule for the truncation point into the brokers. A follower calls it at the
first message of each epoch. It has the epochs of its own log, each with the offset at which it
*ends*. It can `ask` its leader about an epoch: the answer is the highest epoch *not above* it in
the leader's log, and its end. (In Kafka this is a request; here the function looks into the log of
the leader.) YAK's brokers also compare the epochs in each message with their own log. The followers
of Kafka relied on the truncation, so `log_matches` and `conflict_point` switch this off.
"""

# %%
Ask = Callable[[int], tuple[int, int]]
CLUSTER: dict[str, World] = {}


def ends_of(epochs, leo: int) -> dict[int, int]:
    """Return each epoch with records in a log, and the offset at which it ends."""
    entries = epochs.entries()
    ends = [start for _, start in entries[1:]] + [leo]
    return {epoch: end for (epoch, start), end in zip(entries, ends) if end > start}  # noqa: B905


def answer(leader: str, epoch: int) -> tuple[int, int]:
    """Return the leader's highest epoch not above ``epoch``, and its end."""
    found = [batch for batch in CLUSTER["world"].log_of(leader) if batch.epoch <= epoch]
    return (found[-1].epoch, found[-1].base_offset + found[-1].count) if found else (0, 0)


def rules_with(point: Callable[[dict[int, int], Ask, int], int]) -> Rules:
    """Return rules in which ``point`` chooses the truncation point, once in each epoch."""

    def choose(epochs, leo, hw, first_of_epoch, message) -> int:
        mine = ends_of(epochs, leo)
        if not first_of_epoch or not mine:
            return leo
        return min(leo, point(mine, lambda epoch: answer(message.leader, epoch), hw))

    return replace(
        Rules(),
        truncation_point=choose,
        log_matches=lambda epochs, message: True,
        conflict_point=lambda epochs, leo, message: leo,
    )


def show(result: RunResult) -> None:
    """Print the records from offset 10 on of each log."""
    for node in result.world.brokers:
        log = [batch for batch in result.world.log_of(node) if batch.base_offset >= 10]
        texts = [(b.base_offset, next(iter(records(b))).value.decode(), b.epoch) for b in log]
        print(f"{node}: 10 records", *(f"| {at}: {text}/{epoch}" for at, text, epoch in texts))


def different(result: RunResult) -> int:
    """Return the number of offsets at which the logs have records of different epochs."""
    logs = [[batch.epoch for batch in result.world.log_of(n)] for n in result.world.brokers]
    return sum(len(set(epochs)) > 1 for epochs in zip(*logs))  # noqa: B905


# %% [markdown]
"""
## Before KIP-101: truncate to the HW

Until 2017 a follower truncated its log to its own HW. This looks safe: what is below the HW is
committed, and what is above it may not be committed.

1. Ten records are committed. Then the leader n1 appends `a`, and both followers do so, too. So `a`
   is committed and acknowledged. n1 crashes before its next message.
2. n2 is elected. n3 follows it. Messages from n3 to n2 are slow.
3. n2 crashes 20 ms later. n3 is elected: it is in the ISR. Then n1 and n2 restart.
"""


# %%
def to_hw(mine: dict[int, int], ask: Ask, hw: int) -> int:
    """Truncate to the own HW, as before KIP-101."""
    return hw


def ten_records(world: World) -> Script:
    """Commit ten records; return the leader and the followers, in the order of their election."""
    CLUSTER["world"] = world
    yield world.until_ready()
    base = world.producer(rate_per_s=100, values=10)
    yield world.until(lambda: base.finished, within=seconds(10))
    yield world.until_converged()
    return sorted(world.brokers, key=lambda node: (node != world.leader, node))


@scenario(seed=7, brokers=3)
def trailing_hw(world: World) -> Script:
    """Two leaders crash, one right after the other."""
    first, second, third = yield from ten_records(world)
    world.slow_link(third, second, delay_us=seconds(8))
    producer = world.producer(values=[b"a"], first=first)
    yield world.until(lambda: producer.acked_count == 1, within=seconds(5))
    hws = [world.broker(node).hw for node in (first, second, third)]
    world.tell(f"a is acknowledged; HWs of {first}, {second}, {third}: {hws}")
    world.crash(first)
    yield world.until(lambda: world.leader == second, within=seconds(20))
    yield world.sleep(seconds(0.02))
    world.crash(second)
    world.heal()
    yield world.until(lambda: world.leader == third, within=seconds(20))
    world.restart(first)
    world.restart(second)
    yield world.until_isr(world.brokers)
    yield world.until_converged()
    world.figure("lost", world.lost(producer))


# %% [markdown]
"""
## Predict

All three brokers had `a` on their disks, and a producer with acks=all got its ack.

**In how many of the three logs is `a` in the end?**
"""

# %%
my_guess_copies = 3

# %% [markdown]
"""
## Run

The cell runs the rule twice: without the checkers, so that you see where it ends, and with them.
"""


# %%
def try_rule(schedule, point) -> tuple[RunResult, RunResult]:
    """Run a scenario with a rule: without checkers, and with them."""
    free = run_scenario(schedule, rules=rules_with(point), observers=())
    checked = run_scenario(schedule, rules=rules_with(point))
    show(free)
    print("with checkers: valid:", checked.valid, "-", checked.reason)
    return free, checked


lossy, checked = try_rule(trailing_hw, to_hw)
print("\n".join(str(line) for line in lossy.narrative[-22:]))
copies = sum(len(lossy.world.log_of(node)) > 10 for node in lossy.world.brokers)
print(f"Copies of a: your number {my_guess_copies}, result {copies}.")
assert (copies, lossy.figures["lost"]) == (0, 1)
assert [found["invariant"] for found in checked.violations] == ["NoCutBelowCommitted"]

# %% [markdown]
"""
## Explain

1. `a` was committed, and the HW of n1 said so. Why did n3 truncate it?
2. n3 would have received `a` again from n2 at once. Why did it not?
3. Why did n1 and n2 lose `a` as well, in the end?

<details><summary>Answers</summary>

1. The HW of a follower trails (lesson 2): it comes with the *next* message, and n1 crashed before
   it. The HW of n3 was 10. A record above a follower's own HW can be committed.
2. Its answer to n2 was slow, and n2 crashed in the meantime. A crash can always come between a
   truncation and the next copy.
3. n3 leads now, without `a`, and the log of a follower becomes that of its leader. An election
   relies on the promise that a member of the ISR has every committed record. n3 broke it. (n1
   truncates to 0: a broker saves its HW every 300 ms, and n1 crashed before the first time. With
   this rule, it removes its whole log.)

</details>

## KIP-101: ask for the end of the epoch

With KIP-101 a follower takes the epoch of its *last* record, and asks the leader where this epoch
ends in the leader's log. It truncates there. In the scenario above the epoch is 1, and it ends at
11 in the log of n2. So n3 keeps `a`.

Now a faster sequence of elections. Before n3 appends `c`, only the first ten records are committed:

1. n1 sends `a` to n3 only, and crashes. `a/1` is at offset 10 of n1 and n3.
2. n2 is elected in epoch 2, with ten records. It appends `b` alone, and crashes. `b/2` is at
   offset 10 of n2.
3. n3 is elected in epoch 3, and its LEO is 11. n2 restarts and follows it. Then n3 appends `c`.

With `back=True`, n2 appends `b` twice, and n3 appends `c` alone and crashes before n2 is back. Then
n2 leads epoch 4, and n3 follows it. (n2 is not in the ISR, but in the ELR.)
"""


# %%
def kip_101(mine: dict[int, int], ask: Ask, hw: int) -> int:
    """Truncate to the end of the own last epoch in the leader's log."""
    last = max(mine)
    _, end = ask(last)
    return min(mine[last], end)


@scenario(seed=7, brokers=3, limits={"lease_us": seconds(1)})
def fast_elections(world: World, *, back: bool = False) -> Script:
    """Each broker leads for a short time, and appends records alone."""
    first, second, third = yield from ten_records(world)
    yield from append_alone(world, first, ["a"], without=second)
    world.crash(first)
    yield world.until(lambda: world.leader == second, within=seconds(20))
    yield from append_alone(world, second, ["b", "b"] if back else ["b"], without=third)
    world.crash(second)
    yield world.until(lambda: world.leader == third, within=seconds(20))
    if back:
        yield from append_alone(world, third, ["c"], without=second)
        world.crash(third)
    world.heal()
    world.restart(second)
    if back:
        yield world.until(lambda: world.leader == second, within=seconds(20))
        world.restart(third)
    yield world.until_isr([second, third])
    if not back:
        world.producer(values=[b"c"], first=third)
    yield world.sleep(seconds(1))
    world.restart(first)
    yield world.until_isr(world.brokers)
    yield world.until_converged()


def append_alone(world: World, leader: str, values: list[str], without: str) -> Script:
    """Let the leader append records while it cannot reach another broker."""
    world.partition(leader, without)
    end = world.broker(leader).leo + len(values)
    world.producer(values=[value.encode() for value in values], first=leader, acks="1")
    yield world.until(lambda: world.broker(leader).flushed_end == end, within=seconds(5))
    yield world.sleep(seconds(0.3))


with_kip_101, checked = try_rule(fast_elections, kip_101)
assert different(with_kip_101) == 1
assert [found["invariant"] for found in checked.violations] == ["AckIsVerified"]

# %% [markdown]
"""
All three brokers are in the ISR, and their log ends and high watermarks are equal. If n2 is elected
later, consumers read `b` where they have read `a` before. No message will ever repair this.

## Explain

1. What did n2 ask, what was the answer, and why was it wrong?
2. Why does the rule of the HW give equal logs here?
3. Why can lengths not show which records are wrong?

<details><summary>Answers</summary>

1. n2 asked where epoch 2 ends. n3 has no records of epoch 2. Its highest epoch not above 2 is
   epoch 1, with the end 11: n3 has `a/1`. n2 truncated to 11, its own LEO, and kept `b/2`. But the
   answer was about *another epoch* than the question, and n2 did not look at this.
2. All HWs are 10, so everything above the ten committed records is removed on n2.
3. Both logs had 11 records. Only the epochs at offset 10 were different.

</details>

With the complete rules of YAK, n2 truncates `b`. The plot counts 13 acks for 12 records: `b` had
an ack with acks=1, and may be lost (lesson 3).
"""

# %%
right = run_scenario(fast_elections)
show(right)
assert (right.valid, different(right)) == (True, 0)
assert ((11, 10),) in [right.world.truncations_of(node) for node in right.world.brokers]
plot_watermarks(right.trace)

# %% [markdown]
"""
## Modify: each rule on each schedule

`scenarios/divergent_logs.py` leaves three records of three epochs at one offset. The table has one
line for each schedule: the number of records lost after an ack with acks=all, and of offsets with
different records. Which cells will not be 0? Predict, run, and replace a rule by one that never
truncates:
`rules_with(lambda mine, ask, hw: max(mine.values()))`. (The asserts will fail then.)
"""


# %%
@scenario(seed=7, brokers=3)
def three_epochs(world: World) -> Script:
    """The scenario of the repository, with the cluster known to ``answer``."""
    CLUSTER["world"] = world
    yield from load_scenario("divergent_logs").function(world)


SCHEDULES = {
    "trailing HW": (trailing_hw, {}),
    "fast elections": (fast_elections, {}),
    "there and back": (fast_elections, {"back": True}),
    "three epochs": (three_epochs, {}),
}
variants = {"to the HW": rules_with(to_hw), "KIP-101": rules_with(kip_101), "YAK": Rules()}
outcomes = []
print(f"{'':<16}" + "".join(f"{name:<22}" for name in variants))
for name, (schedule, settings) in SCHEDULES.items():
    row = [run_scenario(schedule, None, settings, rules=v, observers=()) for v in variants.values()]
    outcomes.append([(each.figures.get("lost", 0), different(each)) for each in row])
    texts = [f"{lost} lost, {offsets} different" for lost, offsets in outcomes[-1]]
    print(f"{name:<16}" + "".join(f"{text:<22}" for text in texts))
assert outcomes[0] == [(1, 0), (0, 0), (0, 0)]
assert outcomes[1:3] == [[(0, 0), (0, 1), (0, 0)], [(0, 0), (0, 2), (0, 0)]]
assert outcomes[3] == [(0, 0), (0, 0), (0, 0)]

# %% [markdown]
"""
With *three epochs*, KIP-101 is right. The leader has no other record of epoch 1 than the first ten,
so this epoch ends at 10, and both followers truncate there.

## Exercise: the truncation point

Write the function that returns the truncation point. Its arguments are

- `mine`: the epochs in the follower's log, each with its end, for example `{1: 11, 3: 12}`;
- `ask`: `ask(epoch)` returns a pair: the highest epoch not above `epoch` in the leader's log, and
  its end there. `(0, 0)` means that there is none. You can ask more than once.

Equal records must stay, because they may be committed. From the first difference on, all records
must go. If the answer is about another epoch than the question, it is not enough: what can the
follower do next? Example: with `{1: 11, 3: 12}` in the follower's log and `{1: 10, 2: 12}` in
the leader's log, the truncation point is 10. The function below is KIP-101. Correct it.
"""


# %%
def truncation_point(mine: dict[int, int], ask: Ask) -> int:
    """Return the offset from which on the follower removes its records."""
    last = max(mine)
    _, end = ask(last)
    return min(mine[last], end)


# %% [markdown]
"""
The grader plays all histories of two brokers and four epochs: in each epoch one of them leads,
appends up to two records, and the other one replicates none or some. It compares the two logs
record by record.
"""

# %%
Log = tuple[int, ...]


def equal(one: Log, other: Log) -> int:
    """Return the number of equal records before the first difference."""
    both = [left == right for left, right in zip(one, other)]  # noqa: B905
    return both.index(False) if False in both else len(both)


def histories() -> list[tuple[Log, Log]]:
    """Return all pairs of logs up to five records; a log is the epochs of its records."""
    pairs = {((1,), (1,))}
    for epoch in (1, 2, 3, 4):
        for leader, follower in sorted(pairs | {pair[::-1] for pair in pairs}):
            for count in range(min(2, 5 - len(leader)) + 1):
                log = leader + (epoch,) * count
                ends = range(equal(log, follower), len(log) + 1)
                pairs |= {(log, copy) for copy in [follower, *(log[:end] for end in ends)]}
    both = pairs | {pair[::-1] for pair in pairs}
    return sorted(both, key=lambda pair: (len(pair[0]) + len(pair[1]), pair))


def cases():
    """Yield all pairs of logs as follower and leader."""
    for mine, theirs in histories():
        ends = [{epoch: end for end, epoch in enumerate(log, 1)} for log in (mine, theirs)]

        def ask(epoch: int, leader=ends[1]) -> tuple[int, int]:
            return max(((e, end) for e, end in leader.items() if e <= epoch), default=(0, 0))

        point = equal(mine, theirs)
        situation = f"With the epochs {mine} in the follower's log and {theirs} in the leader's"
        reason = f"the logs differ from offset {point} on"
        yield Case((ends[0], ask), point, situation, reason)


passed = grade(truncation_point, cases())

# %% [markdown]
"""
## Stretch: run the cluster with your rule

The checkers are on. Then write a rule that asks only once, and takes its own highest epoch not
above the answer. Which schedule breaks it?

<details><summary>Answer</summary>

*There and back*. n3 has the epochs 1 (end 11) and 3 (end 12). It asks about epoch 3, and the answer
is epoch 2 with the end 12. Its own highest epoch not above 2 is epoch 1, so it truncates to 11 and
keeps `a/1`. But n2 has `b/2` at offset 10. n3 has to ask again, about epoch 1: this epoch ends at
10 in the log of n2.

</details>
"""


# %%
calls = []


def yours(mine: dict[int, int], ask: Ask, hw: int) -> int:
    """Call your rule, and count the calls."""
    calls.append(mine)
    return truncation_point(mine, ask)


agrees = True
for name, (schedule, settings) in SCHEDULES.items():
    calls.clear()
    run = run_scenario(schedule, settings=settings, rules=rules_with(yours))
    print(f"{name:<15} {len(calls)} calls of your rule, valid: {run.valid} {run.reason}")
    agrees = agrees and bool(calls) and run.valid is True
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| rule *to the HW* | until 0.10; it also leaves different logs if all brokers lose power |
| rule *KIP-101* | 0.11 (2017): the answer contains an end, but no epoch |
| your rule | KIP-279 (KAFKA-6361), since 2.0 (2018) |
| `ask` looks into the leader's log | a request; since 2.7 a part of the fetch (KIP-595) |
| the brokers of YAK compare each message | a comparison comes with each fetch since then, too |
| epochs and their ends, from the log | a file beside the log (`leader-epoch-checkpoint`) |

YAK compares backwards from the leader's log end, with one question for each epoch, as Raft does
(rule R3 in `docs/protocol.md`). The flaws have the numbers F01 and F03 in `docs/flaws.md`.

**Next:** lesson 8, what a producer does without an answer. Scenario: `yak sim run divergent_logs`.
"""
