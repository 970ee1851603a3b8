# %% [markdown]
"""
# Lesson 2. Replication, and why the high watermark trails

After this lesson you can follow one record through the cluster, message by message. You can say
when the leader knows that it is committed, and when each follower knows. You write the rule by
which a follower raises its high watermark, and find out why the obvious rules are unsafe.

*Time:* 60 minutes. *You need:* lesson 1 (log, LEO, HW, ISR). Run the cells from top to bottom.

| term | meaning |
| --- | --- |
| replicate message | leader to follower: new records, the records' first offset, the leader's HW |
| ack | follower to leader: my log equals yours below this offset |
| heartbeat | a replicate message without records, every 100 ms when the leader is idle |
| verified offset | the follower knows that its log equals the leader's below this offset |
| to trail | to have an older, lower value; a follower's HW trails the leader's HW |
"""

# %%
from itertools import product

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

The leader has two followers. A message from the leader to the *near* follower takes 50 ms, to the
*far* follower 200 ms (`far_ms`). Acks take about half a millisecond. The log contains one record,
which is committed. After one second without records, a producer sends **one** record. `watch`
writes down the LEO and the HW of each broker after each change.
"""


# %%
def ends(world: World) -> dict[str, tuple[int, int]]:
    """Return the LEO and the HW of each broker."""
    views = [world.broker(node) for node in world.brokers]
    return {view.node_id: (view.leo, view.hw) for view in views}


def watch(world: World, duration_us: int) -> Script:
    """Return [(milliseconds, ends)] with one row per change."""
    begin = world.now_us
    rows = [(0.0, ends(world))]
    while world.now_us < begin + duration_us:
        yield world.until(
            lambda: ends(world) != rows[-1][1] or world.now_us >= begin + duration_us
        )
        if ends(world) != rows[-1][1]:
            rows.append(((world.now_us - begin) / 1000, ends(world)))
    return rows


table: list[tuple[float, dict[str, tuple[int, int]]]] = []


@scenario(seed=2, brokers=3)
def one_record(world: World, *, far_ms: int = 200) -> Script:
    """One record and its HW travel over a short link and a long link."""
    yield world.until_ready()
    leader = str(world.leader)
    near, far = [node for node in world.brokers if node != leader]
    world.slow_link(leader, near, delay_us=millis(50))
    world.slow_link(leader, far, delay_us=millis(far_ms))
    # The first record of a producer takes longer, because the producer looks for the leader.
    producer = world.producer(values=2, hold=True)
    producer.send(1)
    yield world.until_converged()
    yield world.sleep(seconds(1))

    world.tell(f"one record; {near} is near, {far} is far")
    producer.send(1)
    table[:] = yield from watch(world, seconds(1) + 2 * millis(far_ms))
    for node, name in ((leader, "leader"), (near, "near"), (far, "far")):
        known_ms = next(ms for ms, state in table if state[node][1] == 2)
        world.figure(f"{name} HW ms", round(known_ms))
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.logs_converge()


# %% [markdown]
"""
## Predict

The producer sends the record at 0 ms. With acks=all, the leader acknowledges it to the producer as
soon as it is committed.

1. After how many milliseconds does the **leader** raise its HW, that is, commit the record?
2. After how many milliseconds does the **far follower** raise its HW? Hint: which message can
   contain this news, and when does the leader send it?

Write your numbers here before you continue.
"""

# %%
my_guess_leader_ms = 50
my_guess_far_ms = 200

# %% [markdown]
"""
## Run

Each row of the table is one change. It shows the milliseconds since the producer sent the record,
and then `LEO/HW` of each broker.
"""

# %%
result = run_scenario(one_record)
print("valid:", result.valid)
leader = result.world.leader
near, far = [node for node in result.world.brokers if node != leader]
print(f"{'ms':>6}  {leader} (leader)  {near} (near)  {far} (far)")
for ms, state in table:
    cells = ["/".join(map(str, state[node])) for node in (leader, near, far)]
    print(f"{ms:>6.0f}  {cells[0]:<11}  {cells[1]:<9}  {cells[2]}")

# %% [markdown]
"""
The plot shows the same time. The thick lines are the HWs, the thin dashed lines the LEOs. Lines
with equal values are drawn slightly apart. Read it from the lower left: three thin lines rise
first, then three thick lines.
"""

# %%
sent_us = next(line.at_us for line in result.narrative if line.text.startswith("one record"))
plot_watermarks(result.trace, from_us=sent_us - millis(100), to_us=sent_us + millis(700))

# %% [markdown]
"""
## Explain

Compare your numbers with the result.
"""

# %%
committed_ms, far_knows_ms = result.figures["leader HW ms"], result.figures["far HW ms"]
print(f"Leader: your number {my_guess_leader_ms} ms, result {committed_ms} ms.")
print(f"Far follower: your number {my_guess_far_ms} ms, result {far_knows_ms} ms.")
print(f"The near follower knew after {result.figures['near HW ms']} ms.")
assert 200 <= committed_ms <= 210
assert committed_ms + 200 <= far_knows_ms <= committed_ms + 200 + 110

# %% [markdown]
"""
1. Which of the six changes after 0 ms (three LEOs, three HWs) are caused by a message with records,
   and which by a message without?
2. Why does the near follower not raise its HW when it appends the record, after 50 ms?
3. The leader commits after about 200 ms. Which message travels then? How long does the far follower
   wait for it in the worst case?
4. A consumer may read a record when the *leader's* HW is above it. Does the trailing HW of a
   follower make reads slower? When does the follower's HW matter?

<details><summary>Answers</summary>

1. The LEO of the leader rises with the producer's request. The two other LEOs rise with replicate
   messages that contain the record. The leader's HW rises with an ack of the far follower. The HWs
   of the followers rise with heartbeats: replicate messages without records.
2. At 50 ms the record is on two of the three brokers. The far follower is in the ISR and does not
   have it. The HW in the replicate message is the leader's HW when it *sent* the message: 1,
   without the new record.
3. The next heartbeat. The leader sends one at most 100 ms later, and it travels for 200 ms. (Here
   it leaves at about 300 ms, and arrives at 350 ms and at 500 ms.) So the far follower knows after
   200 + 200 + at most 100 ms, and some milliseconds for disks and acks. The leader sends no extra
   message for a new HW: when producers are busy, the next records bring it soon.
4. No, because consumers read from the leader. It matters when the follower becomes the leader: it
   starts with its own HW, although more records may be committed. They are in its log, because it
   was in the ISR. When all members of the ISR have acknowledged them to the new leader, it raises
   its HW above them.

</details>
"""

# %% [markdown]
"""
## Modify

Predict both numbers for each delay, then run the cell. (The near follower has 50 ms in all runs.
Which follower determines the first number when `far_ms` is 0?) Why is the second number not exactly
twice the first?

<details><summary>Answers</summary>

The near follower: it is the slowest member of the ISR then. The second number is the first number,
the wait for the next heartbeat (in these runs almost 100 ms), and the travel time `far_ms`.

</details>
"""

# %%
for far_ms in (0, 50, 100, 400):
    figures = run_scenario(one_record, settings={"far_ms": far_ms}).figures
    print(
        f"far_ms {far_ms:>3}: committed after {figures['leader HW ms']:>3} ms,"
        f" the far follower knows after {figures['far HW ms']:>3} ms"
    )

# %% [markdown]
"""
## Exercise: the rule of the follower

Write the rule by which a follower sets its high watermark when it has handled a replicate message.
Its arguments are

- `hw`: the follower's current high watermark;
- `leader_hw`: the high watermark in the message;
- `verified`: below this offset, the follower has compared its log with the leader's, and they are
  equal. (Each replicate message allows a comparison; lesson 7 shows how.) Above it the follower may
  have *other* records than the leader, for example from an earlier leader that crashed.

The rule returns the new high watermark. The promise: **below its high watermark, a follower has
only records that are committed, and it never takes this back.** Under this promise, the HW must be
as high as possible. The function below runs, but its result is wrong. Correct it.
"""


# %%
def follower_hw(hw: int, leader_hw: int, verified: int) -> int:
    """Return the new high watermark of a follower."""
    return leader_hw


# %% [markdown]
"""
The grader does not contain the rule. It tries all logs that the leader *may* have, as far as the
follower knows. A high watermark is safe if it keeps the promise with every one of these logs. The
right answer is the highest safe one. There are 343 cases, with offsets up to 6.
"""

# %%
SIZE = 6


def possible_logs(hw: int, verified: int):
    """Yield each log that the leader may have: True where it has the follower's record."""
    for equal in product((True, False), repeat=SIZE):
        # The logs are equal where the follower has compared them, and where records are committed.
        if all(equal[: max(verified, hw)]):
            yield equal


def highest_safe(hw: int, leader_hw: int, verified: int) -> int:
    """Return the highest offset below which every possible world has only committed records."""

    def committed(offset: int, equal: tuple[bool, ...]) -> bool:
        return offset < hw or (offset < leader_hw and equal[offset])

    logs = list(possible_logs(hw, verified))
    safe = 0
    while safe < SIZE and all(committed(safe, equal) for equal in logs):
        safe += 1
    return safe


def cases():
    """Yield every case with offsets up to SIZE."""
    for hw, leader_hw, verified in product(range(SIZE + 1), repeat=3):
        expected = highest_safe(hw, leader_hw, verified)

        def reason(answer: int, hw=hw, leader_hw=leader_hw, verified=verified, end=expected) -> str:
            if answer < hw:
                return "the follower takes back a promise, because the high watermark decreases"
            if answer < end:
                return f"all records below {end} are known to be committed"
            if answer > leader_hw and answer > hw:
                return f"the leader has not committed all records below {answer}"
            return f"above {verified} the follower may have other records than the leader"

        situation = f"With HW {hw}, HW {leader_hw} in the message and verified offset {verified}"
        yield Case((hw, leader_hw, verified), expected, situation, reason)


passed = grade(follower_hw, cases())

# %% [markdown]
"""
## Stretch: run the cluster with your rule

In this scenario the leader crashes after the link to the far follower has failed. The near follower
cannot reach the metadata store, the small database that decides who is the leader. So the *far*
follower becomes the leader, and its HW is lower than the HW of the near follower. Your rule decides
on both. The last line counts the decisions in which the rule of the protocol gives another answer.
A correct rule has none, and the run is valid.

Try these rules, too: `return verified` and `return min(leader_hw, verified)`. In which of the two
runs does a checker find the error, and in which does only the comparison find it?

<details><summary>Answers</summary>

`verified` can be higher than the leader's HW: the follower calls records committed that are not,
and a checker finds it. `min(leader_hw, verified)` is never too high, but sometimes lower than
`hw`. A broker ignores a lower HW, so the run is valid, and only the comparison finds the error.

</details>
"""


# %%
@scenario(seed=2, brokers=3)
def lower_leader(world: World) -> Script:
    """A follower with a lower HW becomes the leader."""
    yield world.until_ready()
    leader = str(world.leader)
    near, far = [node for node in world.brokers if node != leader]
    world.slow_link(leader, near, delay_us=millis(50))
    world.slow_link(leader, far, delay_us=millis(200))
    producer = world.producer(values=60, rate_per_s=20)
    yield world.sleep(seconds(1.5))
    world.disconnect(leader, far)
    yield world.sleep(millis(150))
    world.expect.that(
        "The far follower trails the near follower",
        world.broker(far).hw < world.broker(near).hw,
        expected=f"a lower HW on {far} than on {near}",
        happened=f"HW {world.broker(far).hw} and {world.broker(near).hw}",
    )
    world.crash(leader, for_us=seconds(8))
    world.disconnect(near, "store", for_us=seconds(6))
    yield world.until(lambda: world.leader == far, within=seconds(10), what=f"{far} leads")
    world.heal()
    yield world.until(lambda: producer.finished, within=seconds(60))
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.logs_converge()


def decide(hw: int, leader_hw: int, verified: int, leo: int) -> int:
    """Call your rule as a broker does; leo is the end of the follower's own log."""
    return follower_hw(hw, leader_hw, verified)


agrees = grade_in_cluster(lower_leader, "follower_high_watermark", decide)
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| the leader pushes replicate messages | followers fetch; a fetch request is also the ack |
| idle leader: new HW in a heartbeat, each 100 ms | in a fetch response, 500 ms (KAFKA-9952) |
| verified offset limits a follower's HW | the LEO; first it truncates (lesson 3, KAFKA-14704) |
| consumers read from the leader | also from a follower (KIP-392); its trailing HW delays them |

In both, the leader knows first that a record is committed. The follower learns it from the next
message. The rule that limits the HW has the number R3 in `docs/protocol.md`.

**Next:** lesson 3, what acks and min ISR cost, and which records survive. The scenario
`scenarios/slow_follower.py` is a longer run with a far follower: `yak sim run slow_follower`.
"""
