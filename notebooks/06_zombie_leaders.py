# %% [markdown]
"""
# Lesson 6. Zombie leaders and fencing

After this lesson you can explain what happens when a replaced leader does not know it. You can
say which of its messages the other brokers refuse, and by which number. You can say what its
clients see, and which damage each missing check causes. You write the rule by which a follower
decides whether it follows a message.

*Time:* 60 minutes. *You need:* lessons 1 to 5 (HW, acks, ISR, epoch, election). Run the cells from
top to bottom.

| term | meaning |
| --- | --- |
| zombie leader | a broker that acts as the leader after another broker was elected |
| to pause | the process stands still, for example in a garbage collection, and then goes on |
| lease | after its last renewal, no other broker can become the leader for this time: 3 s here |
| epoch | the number of a leadership; each election increases it; each message contains it |
| stale | of an epoch that is lower than the newest one that the receiver knows |
| to fence | to refuse a stale message, and to answer with the newer epoch |
| conditional write | a write to the metadata store that fails if the state has changed meanwhile |
| to truncate | to remove records from the end of a log |
"""

# %%
from dataclasses import replace
from itertools import product

from yak_core import ReplicateDecision, Rules
from yak_sim import (
    Case,
    Role,
    Script,
    Situation,
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

The leader pauses for five seconds (`pause_ms`). Its lease is three seconds, so another broker is
elected. Then the old leader goes on exactly where it stopped. Nothing in its memory has changed: it
still believes that it is the leader.

So that the old leader stays a zombie for longer, a switch is broken. From the beginning of the
pause until one second after its end (`deaf_ms`), no message from the other brokers or from the
metadata store reaches the old leader. Its own messages reach everybody, and clients reach it.

At the end of the pause, two
more producers start, one with acks=all and one with acks=1. Both only know the old leader, and send
20 records per second each.

The cell counts what the old leader does in epoch 1 after the pause.
"""

# %%
RATE_PER_S = 20


@scenario(seed=6, brokers=3)
def paused_leader(world: World, *, pause_ms: int = 5000, deaf_ms: int = 1000) -> Script:
    """A leader pauses for too long, and goes on as if nothing had happened."""
    yield world.until_ready()
    old = str(world.leader)
    others = [node for node in world.brokers if node != old]
    producers = [world.producer(rate_per_s=RATE_PER_S)]
    yield world.sleep(seconds(1))

    epoch, end = world.broker(old).epoch, world.broker(old).leo
    acked, resumes_us = world.acked_in(epoch), world.now_us + millis(pause_ms)
    world.pause(old, for_us=millis(pause_ms))
    deaf = world.disconnect([*others, "store"], old)
    yield world.at(resumes_us - 1)
    for acks in ("all", "1"):
        producers.append(world.producer(rate_per_s=RATE_PER_S, acks=acks, first=old))

    yield world.at(resumes_us + millis(deaf_ms))
    view, leader = world.broker(old), str(world.leader)
    world.figure("replaced", leader != old)
    world.figure("zombie", view.role is Role.LEADER and leader != old)
    world.figure("appended", view.leo - end)
    world.figure("acked", world.acked_in(epoch) - acked)
    world.figure("acked 1", sum(sent.epoch == epoch for sent in producers[2].acked))
    world.figure("HW of the old leader", view.hw)
    world.figure("HW of the new leader", world.broker(leader).hw)
    world.figure("fenced", world.reached(Situation.STALE_MESSAGE_FENCED))

    world.heal(deaf)
    yield world.until(
        lambda: world.broker(old).role is Role.FOLLOWER or leader == old,
        within=seconds(5),
        what=f"{old} follows {leader}",
    )
    world.figure("zombie for ms", (world.now_us - resumes_us) // 1000)
    yield world.sleep(seconds(2))
    for producer in producers:
        producer.stop()
    yield world.until_converged(within=seconds(60))
    world.figure("truncated", sum(before - after for before, after in world.truncations_of(old)))
    world.figure("lost", sum(world.lost(producer) for producer in producers))
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.logs_converge()


# %% [markdown]
"""
## Predict

During the pause, requests wait in the queue of the old leader. After the pause it handles them, and
those of the two new producers, for one second.

1. **How many records does the old leader append in this second?** (The producers with acks=all have
   at most five requests in flight, and then wait for answers.)
2. **How many records does it acknowledge in this second, with acks=all and with acks=1?**
"""

# %%
my_guess_appended = 45
my_guess_acked = 20

# %% [markdown]
"""
## Run

Look for the line *fenced*: a follower refuses a message of the old leader. One second later the old
leader steps down, because the next messages of n1 reach it. n1 starts epoch 2 with HW 19, and
the HW of n3 was 20. No record is lost: the HW of a follower trails (lesson 2).
"""

# %%
result = run_scenario(paused_leader, on_line=print)
print("valid:", result.valid)

# %%
plot_watermarks(result.trace)

# %% [markdown]
"""
In the row of n3 you see the pause, and after it a second in which n3 acts as leader of epoch 1
while n1 leads epoch 2. In this second, the thin dashed line of n3 (its LEO) rises, and its thick
line (its HW) does not. The triangle is the truncation.

## Explain
"""

# %%
figures = result.figures
acked = figures["acked"]
print(f"Appended: your number {my_guess_appended}, result {figures['appended']}.")
print(f"Acknowledged: your number {my_guess_acked}, result {acked}.")
print(f"HW of the old leader {figures['HW of the old leader']},", end=" ")
print(f"of the new leader {figures['HW of the new leader']}.")
print(f"{figures['fenced']} messages of the old leader were fenced.")
print(f"It stepped down {figures['zombie for ms']} ms after the pause,", end=" ")
print(f"and truncated {figures['truncated']} records. Acknowledged and lost: {figures['lost']}.")
assert figures["zombie"] is True
assert figures["appended"] == figures["truncated"] == 10
assert acked == figures["lost"] == 0
assert figures["HW of the old leader"] == 20 < figures["HW of the new leader"]
assert figures["fenced"] > 0
assert 1000 <= figures["zombie for ms"] <= 1010

# %% [markdown]
"""
1. A friend proposes: "Before each append, the leader checks that it is still the leader." Why does
   this not prevent zombies?
2. The old leader appended ten records with acks=all. Why could it acknowledge none of them?
3. It acknowledged no record with acks=1 either. It needs no other broker for acks=1. Why did it
   refuse these records?
4. A consumer that asks the old leader gets records below its HW. Are they wrong?
5. What happened to the ten records, and to their producers?

<details><summary>Answers</summary>

1. The process can pause *between* the check and the append, for any time. No check on the side of
   the old leader is enough. The receivers must refuse its messages.
2. acks=all needs acks from all members of the ISR. The followers know epoch 2, and fenced the
   messages of epoch 1. So the HW of the old leader stands still. (Here it is also deaf, and would
   not hear an ack. *Without fences* below shows what happens if the followers accept its messages.)
   There are ten records because two producers use acks=all, each with five requests in flight.
3. Its lease had expired on its own clock: the last renewal was more than three seconds ago. From
   this time on another leader is possible, and records that only one broker has can be truncated.
   So a leader without a lease refuses acks=0 and acks=1. (The lease ends for the others a little
   later, because they read each renewal after it was written. For this, all clocks must run at
   about the same speed. acks=all does not need it.)
4. They are not wrong, but old. Each record below its HW is committed, and committed records stay
   (lesson 4). But the newer records are missing: the new leader's HW is far higher.
5. The old leader truncated them when it followed the new leader. The first producer had stopped
   waiting for its five. The second one got the answer *unknown*: for one record after a timeout of
   1 s, for four at the step-down. Both sent the records again to the new leader (lesson 8).

</details>

## Modify: the length of the pause

Predict for each pause: is the leader replaced, and how many records does it acknowledge as a
zombie? The last row has min ISR 1, and the old leader stays deaf for four seconds. It has heard
nothing from the followers for more than two seconds, so it wants to remove both from the ISR. With
an ISR of one member, and min ISR 1, it could commit records alone.
"""

# %%
print("                            replaced  zombie for  appended  acknowledged  truncated")
for name, settings in (
    ("pause 1 s", {"pause_ms": 1000}),
    ("pause 2 s", {"pause_ms": 2000}),
    ("pause 4 s", {"pause_ms": 4000}),
    ("pause 8 s", {"pause_ms": 8000}),
    ("pause 5 s, deaf, min ISR 1", {"deaf_ms": 4000, "min_isr": 1}),
):
    run = run_scenario(paused_leader, settings=settings)
    assert run.valid is True
    numbers = run.figures
    replaced = numbers["replaced"]
    zombie = f"{numbers['zombie for ms']} ms" if replaced else "-"
    total = numbers["acked"]
    print(f"{name:<28}{'yes' if replaced else 'no':<10}{zombie:>10}", end="")
    print(f"{numbers['appended']:>10}{total:>14}{numbers['truncated']:>11}")
    assert replaced == (settings.get("pause_ms", 5000) > 3000)
    assert numbers["zombie"] is replaced
    assert total == 0 or not replaced
    assert numbers["truncated"] == (numbers["appended"] if replaced else 0)

# %% [markdown]
"""
After a pause of 1 s or 2 s the leader is not replaced, and the waiting records are committed when
it hears the followers again. A pause of 4 s or more makes a zombie, and a zombie acknowledges
nothing. Between 2.7 s and 3.4 s it depends on the last renewal (the bounds of lesson 5). In the
first run, n1 campaigned 2.8 s after the beginning of the pause.

In the first two rows the old leader is deaf for a second, too. So the records that it acknowledges
are those with acks=1. After the pause of 2 s, its lease ends within this second, so there are fewer
than 20.

In the last
row the old leader sends a new ISR to the metadata store. The store writes only if the stored state
is the one that the writer has read (*compare and set*, a conditional write). It is not: the
election of n1 has changed it. So the store refuses, and the old leader never gets an ISR of its
own. The same rule makes two leaders in one epoch impossible: of two candidates, the second one is
refused.

## Modify: without fences

Each run replaces one decision of the brokers. Predict which guarantee breaks, and where.
"""


# %%
def any_epoch(my_epoch, my_leader, epoch, sender):
    """A follower believes each message that claims to come from a leader."""
    if epoch <= my_epoch:
        return ReplicateDecision.ACCEPT
    return ReplicateDecision.ADOPT


def without_lease(acks, now_us, lease_ends_us):
    """A leader serves acks=0 and acks=1 after its lease has expired."""
    return True


def never_step_down(my_epoch, seen_epoch):
    """A leader goes on when it sees a higher epoch."""
    return False


for name, rules in (
    ("all decisions of the protocol", Rules()),
    ("followers believe any epoch", replace(Rules(), accept_replicate=any_epoch)),
    ("leaders ignore their lease", replace(Rules(), serves_acks=without_lease)),
    ("leaders ignore higher epochs", replace(Rules(), must_step_down=never_step_down)),
):
    run = run_scenario(paused_leader, rules=rules)
    broken = run.reason.partition(": expected")[0] or "no violation"
    print(f"{name:<31}valid: {run.valid!s:<7}{broken}")
    if "acked 1" in run.figures:
        print(f"{'':<31}{run.figures['acked 1']} records acknowledged with acks=1 by the zombie")
    assert run.valid is (rules == Rules())
    assert name != "leaders ignore their lease" or run.figures["acked 1"] == 20

# %% [markdown]
"""
1. *Followers believe any epoch.* `NoHalt` means: no broker may halt while store and disks work. A
   message of the old leader is about to replace a committed record in the log of n2. The last guard
   of the broker stops it: a broker never truncates below its HW, and halts instead. Without this
   guard, a committed record would be lost.
2. *Leaders ignore their lease.* The zombie acknowledges 20 records with acks=1, and truncates them.
   Their producer believes that they are written.
3. *Leaders ignore higher epochs.* The old leader never follows, so the cluster has one copy less.

## Exercise: whom does a follower follow?

A follower gets a message with records. It has seen epochs and leaders before. Write the rule that
says whether it follows the message, that is, replaces its own records by those of the message where
they differ. The arguments are

- `my_epoch`: the highest epoch that the follower knows;
- `my_leader`: the leader of this epoch, for example `"n1"`; None if the follower does not know it,
  for example after a restart;
- `epoch`: the epoch of the message, in which its sender was elected;
- `sender`: the broker that sent the message.

The promise: **the follower never replaces a record that may be committed.** It has acknowledged its
records to the leader of `my_epoch`, which may have committed them. Under this promise, the rule
must say True whenever it can, because a follower without a leader receives no new records. The
function below is what many first programs do. It runs, but its result is wrong. Correct it.
"""


# %%
def follows(my_epoch: int, my_leader: str | None, epoch: int, sender: str) -> bool:
    """Return whether a follower follows a message."""
    return sender == my_leader


# %% [markdown]
"""
The grader does not contain the rule. It looks at one offset, and tries all histories of three
epochs: which record each leader has at this offset, and in which epoch it was committed. Two facts
limit the histories. A leader has every record that earlier leaders have committed (lesson 4). The
conditional writes allow one leader per epoch. For each case the grader looks for a history in which
the follower replaces a committed record.
"""

# %%
EPOCHS = (1, 2, 3)


def histories():
    """Yield ({epoch: record of its leader}, epoch of the commit).

    A record is the epoch in which it was appended, 0 if there is none. Commit 0: not committed.
    """
    for choice in product(range(4), repeat=3):
        record = dict(zip(EPOCHS, choice, strict=True))
        if any(was > epoch or (was and record[was] != was) for epoch, was in record.items()):
            continue  # a leader has its own record, or that of an earlier leader
        yield record, 0
        for commit in EPOCHS:
            kept = {record[epoch] for epoch in EPOCHS if epoch >= commit}
            if record[commit] and kept == {record[commit]}:
                yield record, commit


def cases():
    """Yield all cases with three epochs and three brokers."""
    senders = ("n1", "n2")
    leaders = (*senders, "n3", None)
    for my_epoch, my_leader, epoch, sender in product(EPOCHS, leaders, EPOCHS, senders):
        if my_epoch == epoch and my_leader not in (None, sender):
            continue  # two leaders in one epoch
        lost = [
            record
            for record, commit in histories()
            if 0 < commit <= my_epoch and record[epoch] != record[my_epoch]
        ]
        reason = f"the leader of epoch {epoch} has every record committed up to epoch {my_epoch}"
        if lost:
            mine = lost[0][my_epoch]
            reason = f"a record of epoch {mine} may be committed, and {sender} may not have it"
        known = f"epoch {my_epoch} and leader {my_leader or 'unknown'}"
        situation = f"A follower knows {known}; for a message of {sender} with epoch {epoch}"
        yield Case((my_epoch, my_leader, epoch, sender), not lost, situation, reason)


passed = grade(follows, cases())

# %% [markdown]
"""
## Stretch: run the cluster with your rule

In this scenario one broker leads epoch 1 and, after another leader, again epoch 3. Some of its
messages of epoch 1 are held by the network, and arrive when it leads epoch 3. So the sender is the
right one, and the message is wrong. Your rule decides in all brokers. Also try `return True`.
"""


# %%
@scenario(seed=6, brokers=3)
def leader_again(world: World) -> Script:
    """A broker leads epochs 1 and 3, and messages of epoch 1 arrive in epoch 3."""
    yield world.until_ready()
    first = str(world.leader)
    others = [node for node in world.brokers if node != first]
    producer = world.producer(rate_per_s=RATE_PER_S)
    yield world.sleep(seconds(1))
    held = {node: world.clog(first, node) for node in others}
    yield world.sleep(millis(200))
    world.pause(first, for_us=seconds(4))
    yield world.until(lambda: world.leader in others, within=seconds(10))

    second = str(world.leader)
    [third] = [node for node in others if node != second]
    yield world.until(lambda: world.broker(first).leader == second, within=seconds(10))
    world.heal(held[second])
    yield world.until_back(first)
    outage = world.partition(third, "store")  # so that the third broker is not elected
    world.pause(second, for_us=seconds(6))
    yield world.until(lambda: world.leader == first, within=seconds(10))
    world.heal(outage)
    yield world.sleep(seconds(1))
    world.heal(held[third])
    yield world.until_isr(world.brokers)
    producer.stop()
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()


def decide(my_epoch, my_leader, epoch, sender):
    """Call your rule as a broker does, and return the decision of the protocol."""
    if not follows(my_epoch, my_leader, epoch, sender):
        return ReplicateDecision.FENCED
    news = epoch > my_epoch or my_leader is None
    return ReplicateDecision.ADOPT if news else ReplicateDecision.ACCEPT


agrees = grade_in_cluster(leader_again, "accept_replicate", decide)
print("Passed:", passed and agrees)

# %% [markdown]
"""
The protocol has one more answer: if two brokers claim to lead the same epoch, the broker halts.
With conditional writes this is impossible, so the store has lost a write
(`scenarios/store_forgets.py`).
The leader has a rule like yours for acks: it counts an ack only if the ack is of its own epoch,
because an ack of another epoch is about another log.

## Where Kafka differs

| here | in Kafka |
| --- | --- |
| the leader pushes; each message has its epoch | followers fetch; each fetch has it (KIP-320) |
| a stale message is refused, with the newer epoch | `FENCED_LEADER_EPOCH` since KIP-320 |
| brokers write the metadata store, with conditions | only the controller writes |
| a change of the ISR names the state that was read | the same: partition epoch (KIP-497) |
| each start of a broker has an epoch of its own | the same: broker epoch (KIP-380) |
| without a lease, a leader refuses acks=1 | it accepts acks=1 until it learns of the new leader |

The rules have the numbers R3, R4, R15 and R16 in `docs/protocol.md`.

**Next:** lesson 7, how logs that differ become equal again. Scenarios with zombies to run from the
command line: `yak sim run zombie_leader`, and `leader_cut_off`, in which the leader reaches the
store but no follower. In `asymmetric_partition` a follower that hears nothing does *not* replace
the leader, because the leader renews its lease.
"""
