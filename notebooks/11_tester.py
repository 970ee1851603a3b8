# %% [markdown]
"""
# Lesson 11. Becoming the tester

After this lesson you can say what a test of a replicated log consists of: a generator of faults and
a check of the promises. You can test a test with broken protocols. You write a check that finds six
broken protocols, without a look at their rules.

*Time:* 75 minutes. *You need:* lessons 1 to 8. Run the cells from top to bottom.

| term | meaning |
| --- | --- |
| plan | a list of faults, each with a time: which broker crashes when, which link is slow |
| generator | it draws plans, out of all that a test may try (Hypothesis: *strategy*) |
| property | a statement that must hold in each run, whatever the plan |
| oracle | the part of a test that says whether a run kept the property |
| counterexample | a plan with which a protocol breaks the property |
| to shrink | to make a counterexample smaller while it still breaks the property |
| mutant | a copy of a program with one deliberate mistake |
| to kill a mutant | the test fails with the mutant, as it should |
"""

# %%
from dataclasses import replace
from itertools import combinations, product
from typing import NamedTuple

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from yak_core import Rules, records
from yak_sim import (
    ANONYMOUS_PROTOCOLS,
    Case,
    Fault,
    Script,
    World,
    grade,
    millis,
    plot_watermarks,
    run_scenario,
    scenario,
    seconds,
)
from yak_sim.testing import RunNotValid, assert_valid, plans, run_plan

# %% [markdown]
"""
## The scenario

Two producers with acks=all and one consumer use a cluster of three brokers. The faults are those of
a plan. After four seconds everything is healed, and the scenario waits until all brokers have equal
logs. A test that sees a cluster from outside knows four things in the end:

- `sent`: the records of each producer, in the order of sending;
- `acked`: the records that were acknowledged;
- `log`: the records in the log at the end of the run, in order;
- `read`: what the consumer read, as pairs (offset, record), also before the last fault.

`observers=()` switches off the simulator's own checks. The leases and the limit of the lag are one
second here, so that four seconds are enough for an election and its consequences. The last lines
run a first plan. It has one fault, `Fault(start, kind, target, duration)`: three seconds after the
start, the leader crashes for two seconds.
"""

# %%
LIMITS = {"lease_us": seconds(1), "lease_renew_us": millis(200), "replica_lag_us": seconds(1)}


class Seen(NamedTuple):
    """What can be seen of a run from outside."""

    sent: tuple[tuple[str, ...], ...]
    acked: tuple[str, ...]
    log: tuple[str, ...]
    read: tuple[tuple[int, str], ...]


def observe(plan, rules) -> Seen:
    """Run a cluster with these rules under load and a plan of faults."""

    @scenario(seed=7, brokers=3, limits=LIMITS)
    def plan_under_load(world: World) -> Script:
        producers = [world.producer(rate_per_s=20) for _ in range(2)]
        world.consumer()
        world.follow(plan)
        yield world.at(seconds(4))
        for producer in producers:
            producer.stop()
        world.heal_everything()
        yield world.until_converged(within=seconds(20))
        yield world.sleep(seconds(1))

    world = run_scenario(plan_under_load, rules=rules, observers=()).world
    log = [record for batch in world.log_of(world.leader or "n1") for record in records(batch)]
    return Seen(
        tuple(tuple(v.decode() for sent in p.sent for v in sent.values) for p in world.producers),
        tuple(v.decode() for p in world.producers for sent in p.acked for v in sent.values),
        tuple(record.value.decode() for record in log),
        tuple((each.offset, each.value.decode()) for each in world.consumers[0].reads),
    )


seen = observe([Fault(seconds(3), "crash", "leader", seconds(2))], Rules())
print(f"acknowledged: {len(seen.acked)}, in the log: {len(seen.log)}, read: {len(seen.read)}")
assert len(seen.acked) == len(seen.log) == len(seen.read) >= 100

# %% [markdown]
"""
## A generator

`yak_sim.testing.plans()` draws any faults. The next cell writes a generator by hand, which aims at
the weak moment of a replicated log: **a broker is elected that does not have the newest records**.
One follower has a slow link from the leader n1. It may crash at first and come back. Then n1
is cut off from brokers and store, or it crashes together with the other follower. Hypothesis draws
the values of the arguments. `sooner` moves the plans of `plans()` into the four seconds.
"""


# %%
def weak_moment(slow, delay_ms, slow_restarts, at_ms, end):
    """Return a plan: a slow follower, then a failure of the leader."""
    other = {"n2": "n3", "n3": "n2"}[slow]
    delay = (("delay_us", millis(delay_ms)),)
    plan = [Fault(millis(500), "slow_link", f"leader>{slow}", seconds(3), delay)]
    if slow_restarts:
        plan.append(Fault(millis(500), "crash", slow, seconds(1.3)))
    if end == "partition":
        plan.append(Fault(millis(at_ms), "partition", "leader|brokers,store", seconds(1.5)))
    else:
        plan.append(Fault(millis(at_ms), "crash", "leader", seconds(1.5)))
        plan.append(Fault(millis(at_ms), "crash", other, seconds(1.5)))
    return tuple(plan)


def sooner(plan):
    """Move the faults of a plan, which begin between 1 s and 8 s, to 3/8 of their times."""
    return tuple(replace(fault, at_us=fault.at_us * 3 // 8) for fault in plan)


aimed = st.builds(
    weak_moment,
    slow=st.sampled_from(["n2", "n3"]),
    delay_ms=st.integers(100, 800),
    slow_restarts=st.booleans(),
    at_ms=st.integers(1900, 2600),
    end=st.sampled_from(["partition", "crash"]),
)
any_faults = plans(faults_max=4).map(sooner)
GENERATORS = {"no faults": st.just(()), "any faults": any_faults, "aimed": aimed}

# %% [markdown]
"""
## Predict

`ANONYMOUS_PROTOCOLS` has six protocols, A to F. In each, one rule is replaced by a wrong one. The
notebook does not say which; please do not look. Such protocols are *mutants*: a good test must fail
with each of them. The first oracle is "each acknowledged record is in the log". Each test gets up
to ten plans for each protocol. **How many of the six does it kill**

1. without faults,
2. with any faults,
3. with the aimed generator?
"""

# %%
my_guess = {"no faults": 2, "any faults": 5, "aimed": 6}

# %% [markdown]
"""
## Run
"""


# %%
def nothing_lost(sent, acked, log, read) -> bool:
    """The first oracle: each acknowledged record is in the log."""
    return set(acked) <= set(log)


QUIET = settings(derandomize=True, database=None, deadline=None)


def is_killed(rules, generator, oracle, examples: int = 10) -> bool:
    """Return whether the oracle refuses a run of these rules, with up to this number of plans."""

    @settings(QUIET, max_examples=examples, phases=[Phase.generate])
    @given(generator)
    def test(plan):
        assert oracle(*observe(plan, rules)), "a promise is broken"

    try:
        test()
    except AssertionError:
        return True
    return False


kills = {
    name: sum(is_killed(rules, generator, nothing_lost) for rules in ANONYMOUS_PROTOCOLS.values())
    for name, generator in GENERATORS.items()
}
for name, count in kills.items():
    print(f"{name:<10}: your number {my_guess[name]}, killed {count} of 6")
assert kills["no faults"] == 0
assert kills["any faults"] < kills["aimed"] == 3

# %% [markdown]
"""
## Explain

1. Why does a test without faults kill no protocol here, although each has a wrong rule?
2. Any faults contain the aimed ones. Why does the aimed generator kill more with ten plans?
3. Three protocols survive even the aimed generator. Are they right?
4. What does it say about a protocol that a test does not fail?

<details><summary>Answers</summary>

1. A wrong rule matters only in the situation that the right rule is made for. Without a failover,
   no second leader is elected, and no record can be lost.
2. Two to four faults must come in the right order, at the right brokers, within a second or two.
   Among any faults this is rare: ten plans are too few. A machine has time for many more; combine
   both.
3. No. They break another promise, such as "no record is in the log twice". An oracle finds only
   what it looks at.
4. That this generator and this oracle found nothing. Only the kill of mutants tells how much the
   test can find.

</details>

## Modify: checks inside, and a small counterexample

A test can also look into the brokers. `run_plan` has checks for each step of each broker (the
*invariants*, `docs/invariants.md`), and `assert_valid` raises `RunNotValid` if one is violated. The
next cell tests a rule that Kafka had until 2017: a follower of a new leader truncates its log to
its own HW. `find` draws plans with crashes until one fails. Then it shrinks the plan: it tries
plans with fewer faults and simpler values, and goes on with each one that still fails. Predict: how
many faults does the smallest plan have? Must a record be lost before the checks notice?
"""


# %%
def to_the_high_watermark(epochs, leo, hw, first_of_epoch, message):
    """The rule before KIP-101."""
    return hw if first_of_epoch else leo


before_kip_101 = replace(Rules(), truncation_point=to_the_high_watermark)


def breaks_an_invariant(plan) -> bool:
    """Return whether a run with the rule is not valid."""
    try:
        assert_valid(run_plan(plan, rules=before_kip_101, producers=1), save_to=None)
    except RunNotValid:
        return True
    return False


smallest = find(
    plans(kinds=["crash"], faults_max=3),
    breaks_an_invariant,
    settings=settings(QUIET, max_examples=30),
)
result = run_plan(smallest, rules=before_kip_101, producers=1)
print(len(smallest), "fault:", smallest[0].kind, smallest[0].target)
print(result.reason)
lost = result.world.lost(result.world.producers[0])
print("Acknowledged records that are in no log:", lost)
assert len(smallest) == 1
assert "truncated its log at 19" in result.reason
assert lost == 0

# %%
plot_watermarks(result.trace, from_us=millis(700))

# %% [markdown]
"""
One crash of the leader is enough: n1 restarts 0.1 s later, and is elected again at the right edge.
Then n2 removes record 19 from its log: its LEO falls from 20 to 19, to its HW. The record was
acknowledged (row *acks*). It is still on n1, so it is not lost yet: a test from outside would need
a second failover right now. The run ends at this step, because a check has failed. Checks inside
find a mistake earlier, with smaller plans. Checks from outside need no knowledge of the protocol.

## Exercise: what the clients were promised

Write the oracle. It gets what can be seen from outside, and returns True if all promises were kept:

1. each acknowledged record is in the log;
2. no record is in the log twice;
3. the records of one producer are in the log in the order of sending. Some may be missing, because
   a record that was not acknowledged may be in the log or not;
4. what the consumer has read at an offset is what the log has at this offset. If the log is shorter
   in the end, and has nothing at this offset, the promise is broken, too.

All records of `sent` are different. The function below runs, but it checks one promise only.
Complete it.
"""


# %%
def keeps_promises(sent, acked, log, read) -> bool:
    """Return whether a run kept all promises to the clients."""
    return set(acked) <= set(log)


# %% [markdown]
"""
The grader does not check promises. It plays a right cluster: the next record of some producer is
appended, or dropped. It collects everything that can be seen of all these runs. Your oracle must
say True for these and False for all else.
"""

# %%
SENT = (("a0", "a1"), ("b0",))


def right_logs(sent):
    """Yield each log of a right cluster: the next record of a producer is appended or dropped."""
    if not any(sent):
        yield ()
    for number, own in enumerate(sent):
        if own:
            for log in right_logs((*sent[:number], own[1:], *sent[number + 1 :])):
                yield log
                yield (own[0], *log)


def subsets(values):
    """Yield all subsets of up to two values."""
    for size in range(3):
        yield from combinations(values, size)


def cases():
    """Yield short runs, possible and impossible ones."""
    names = sorted(record for own in SENT for record in own)
    logs = set(right_logs(SENT))
    right = {
        (tuple(sorted(acked)), log, read)
        for log in logs
        for acked in subsets(log)
        for read in subsets(tuple(enumerate(log)))
    }
    pairs = tuple(product(range(2), names))
    for size in range(4):
        for log, acked in product(product(names, repeat=size), subsets(names)):
            for read in ((), *((pair,) for pair in pairs)):
                expected = (acked, log, read) in right
                reason = "a right cluster can do this"
                if log not in logs:
                    reason = "a right cluster has no such log"
                elif not expected:
                    reason = "a right cluster does not acknowledge or show these records"
                situation = f"With sent {SENT}, acked {acked}, log {log} and read {read}"
                yield Case((SENT, acked, log, read), expected, situation, reason)


passed = grade(keeps_promises, cases())

# %% [markdown]
"""
## Stretch: kill all six

The aimed generator with your oracle, with up to 15 plans for each protocol. A good test kills each
of the six protocols, and does not kill the right one. One of the six dies only because of promise
4: which one? What could you add to the generator?

<details><summary>Answer</summary>

C. Its log is right in the end, but a consumer has read a record that disappeared later. To the
generator: faults of other kinds at the same weak moment, such as a leader that pauses and goes on,
lost unflushed records, a slow disk, or a second failover. Each kind costs time, and finds nothing
if no mutant needs it. So write a mutant first.

</details>
"""

# %%
judged = []


def counted(*seen) -> bool:
    """Call your oracle on a run of a cluster, and count the call."""
    judged.append(keeps_promises(*seen))
    return judged[-1]


killed = sum(is_killed(rules, aimed, counted, 15) for rules in ANONYMOUS_PROTOCOLS.values())
right_is_killed = is_killed(Rules(), aimed, counted, 15)
print(f"{killed} of 6 protocols are killed. The right protocol is killed: {right_is_killed}")
agrees = len(judged) > 15 and killed == 6 and not right_is_killed
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| plans from Hypothesis, shrunk | ducktape and Trogdor inject faults into real clusters |
| one deterministic run per plan | real processes: a failure may not come again |
| an oracle over what clients saw | Jepsen tests: histories of clients, checked afterwards |
| invariants after each step | the TLA+ model of KIP-966 and the simulation test of Raft (KIP-595) |
| mutants test the tests | rare; a fixed bug gets a test of its own |

The same test in a project of your own, with pytest: `docs/scenarios.md`, section *Property-based
tests*. `docs/first-counterexample.md` follows the rule of the plot to the record that it truncates.
The scenario with such a failover is `scenarios/divergent_logs.py`: `yak sim run divergent_logs`.

**Next:** [lesson 12](12_sockets.ipynb) runs the same core in real processes.
"""
