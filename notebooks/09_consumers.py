# %% [markdown]
"""
# Lesson 9. Consumers: at most once, at least once, once

After this lesson you can say which records a consumer may read, and why. You can predict what an
application misses or does twice after a crash, from the moment at which it saves its position. You
write the function with which an application continues after a crash at any step.

*Time:* 60 minutes. *You need:* lessons 1 to 4 (HW, ISR, acks), lesson 5 (election). Run the cells
from top to bottom.

| term | meaning |
| --- | --- |
| consumer | a client that reads records from the leader, in the order of their offsets |
| application | the program that uses the consumer; it does work for each record |
| position | the offset of the next record that the application reads |
| to save the position | to write the position to a disk, so that it survives a crash |
| output | what the application writes because of the records |
| at most once | after a crash, the work for some records is missing; none is done twice |
| at least once | after a crash, the work for some records is done twice; none is missing |
| once | after a crash, no record is missing in the output, and none is there twice |
"""

# %%
from dataclasses import dataclass, field, replace
from itertools import product

from yak_core import Rules
from yak_sim import (
    Case,
    Script,
    World,
    grade,
    millis,
    plot_watermarks,
    run_scenario,
    scenario,
    seconds,
)

# %% [markdown]
"""
## The scenario: which records may be read?

A consumer reads from the leader. The links from the leader to both followers fail, and the clients
can still reach the leader. Half a second later the leader crashes. The producer sends 20 records
per second with acks=1, so the leader has 10 records that no follower has. When another broker
leads, a second producer sends 20 records. The old leader has kept its disk, and restarts. The
scenario counts what the consumer has read at the crash, and how many records disappear.
"""

# %%
RATE_PER_S = 20


@scenario(seed=9, brokers=3)
def reader(world: World) -> Script:
    """The leader crashes with records that no follower has."""
    yield world.until_ready()
    leader = str(world.leader)
    producer = world.producer(rate_per_s=RATE_PER_S, acks="1")
    consumer = world.consumer()
    yield world.sleep(seconds(1))
    world.disconnect(leader, "brokers")
    yield world.sleep(seconds(0.5))
    world.figure("read", len(consumer.reads))
    world.figure("HW", world.broker(leader).hw)
    world.figure("LEO", world.broker(leader).leo)
    producer.stop()
    world.crash(leader, "nothing")
    world.heal()
    yield world.until(lambda: world.leader not in (None, leader), within=seconds(10))
    world.producer(rate_per_s=RATE_PER_S, values=20)
    yield world.sleep(millis(500))
    world.restart(leader)
    yield world.until_back(leader)
    [(end_before, end_after)] = world.truncations_of(leader)
    world.figure("disappeared", end_before - end_after)
    yield world.until_converged()
    world.expect.order_kept()


# %% [markdown]
"""
## Predict

1. At the crash, the LEO of the leader is about 10 above its HW. **How many of the records that
   disappear has the consumer read?**

The second scenario below is about the application. It takes 20 records at a time, and crashes when
it has done the work for 12 of the second 20. Then it starts again at its saved position. **How many
records are missing in its output, and how many are there twice,**

2. if it saves the position *before* the work for the 20 records;
3. if it saves the position *after* the work for the 20 records?
"""

# %%
my_guess_read = 5
my_guess_before = {"missing": 0, "twice": 0}
my_guess_after = {"missing": 0, "twice": 0}

# %% [markdown]
"""
## Run
"""

# %%
result = run_scenario(reader, on_line=print)
print("valid:", result.valid)

# %%
plot_watermarks(result.trace)

# %% [markdown]
"""
In the plot, the dashed line of the leader n3 rises after the links have failed: n3 appends records
that no follower has. All HWs stand still. The triangle marks the truncation: n3 removes its last 10
records, because the new leader does not have them. The new leader has already given their offsets
to other records. (n1 starts epoch 2 with HW 19. It has all 20 committed records, and would have
heard of HW 20 with the next message of n3: lesson 2.)

## Explain: only below the HW
"""

# %%
read, hw, leo = (result.figures[name] for name in ("read", "HW", "LEO"))
disappeared = result.figures["disappeared"]
phantoms = max(0, read - (leo - disappeared))
print(f"At the crash: LEO {leo}, HW {hw}, {read} records read. {disappeared} records disappeared.")
print(f"Read and disappeared: your number {my_guess_read}, result {phantoms}.")
assert read == hw < leo
assert phantoms == 0
assert disappeared == leo - hw == 10
assert hw == 20


def up_to_leo(hw, leo):
    """Let consumers read all records of the leader."""
    return leo


broken = run_scenario(reader, rules=replace(Rules(), readable_end=up_to_leo))
print("Reading up to the LEO:", broken.valid, "-", str(broken.reason).splitlines()[0])
assert not broken.valid

# %% [markdown]
"""
1. The leader had more records than the consumer had read. Why did it not send them?
2. In the second run, a check ends the run at the first answer with a record not below the HW. What
   could an application do with a record that later disappears?
3. The offsets of the disappeared records are used again, by other records. Why does a position that
   the consumer saved stay correct, even with another leader?
4. Does the HW alone make the output of an application correct?

<details><summary>Answers</summary>

1. They were not committed: not every replica in the ISR had them. A broker without them could
   become the leader. This is what happened.
2. It could send an invoice for an order that does not exist. A consumer that starts later never
   sees this order. The applications do not agree, and no later step corrects this.
3. A consumer only has positions up to the HW. The records below it are committed: each later leader
   has them, at the same offsets.
4. No. The HW says which records stay. It does not say for which records the *application* has done
   its work. The rest of this lesson is about this.

</details>

## The scenario: an application with a position

The next application takes a batch of records from its consumer, and does its work for one record
after the other (40 ms each). The work appends the offset of the record to `output`. When it
crashes, all its variables are lost. Only `Disk` survives. It saves its position in one of three
orders:

- `before`: it saves the position after the batch, and then does the work;
- `after`: it does the work, and then saves the position;
- `together`: for each record, it writes output and position in *one* write, for example in one
  transaction of a database. The disk has both of them or none.
"""

# %%
RECORDS = 60


@dataclass
class Disk:
    """What survives a crash of the application."""

    position: int = 0
    output: list[int] = field(default_factory=list)


def application(world: World, disk: Disk, order: str, batch: int, crash_at: int = -1) -> Script:
    """Do the work for all records; crash before the work for the record ``crash_at``."""
    consumer = world.consumer(start_offset=disk.position)
    taken, to_read = 0, RECORDS - disk.position

    def batch_is_there() -> bool:
        return len(consumer.reads) >= min(taken + batch, to_read)

    while taken < to_read:
        yield world.until(batch_is_there, within=seconds(20))
        reads = consumer.reads[taken : taken + batch]
        taken += len(reads)
        if order == "before":
            disk.position = reads[-1].offset + 1
        for read in reads:
            if read.offset == crash_at:
                consumer.stop()
                return
            yield world.sleep(millis(40))
            disk.output.append(read.offset)
            if order == "together":
                disk.position = read.offset + 1
        if order == "after":
            disk.position = reads[-1].offset + 1
    consumer.stop()


@scenario(seed=9, brokers=3)
def crash(world: World, *, order: str = "after", batch: int = 20, crash_at: int = 32) -> Script:
    """An application crashes and continues at its saved position."""
    yield world.until_ready()
    world.producer(rate_per_s=RATE_PER_S, values=RECORDS)
    disk = Disk()
    yield from application(world, disk, order, batch, crash_at)
    world.tell(f"the application crashes, its saved position is {disk.position}")
    world.figure("saved", disk.position)
    yield from application(world, disk, order, batch)
    world.figure("missing", RECORDS - len(set(disk.output)))
    world.figure("twice", len(disk.output) - len(set(disk.output)))
    yield world.until_converged()


# %% [markdown]
"""
## Run and explain: three orders
"""

# %%
print("order      saved  missing  twice")
found = {}
for order in ("before", "after", "together"):
    figures = run_scenario(crash, settings={"order": order}).figures
    found[order] = {name: figures[name] for name in ("missing", "twice")}
    print(f"{order:<9}{figures['saved']:>7}{figures['missing']:>9}{figures['twice']:>7}")
print("Your numbers: before", my_guess_before, "after", my_guess_after)
assert found["before"] == {"missing": 8, "twice": 0}
assert found["after"] == {"missing": 0, "twice": 12}
assert found["together"] == {"missing": 0, "twice": 0}

# %% [markdown]
"""
1. Why are 8 records missing with `before`, and why are none twice?
2. Why are 12 records twice with `after`? The cluster lost nothing and doubled nothing. Who could
   notice the error?
3. With `together` there is no error. Why can an application not always do this?
4. When would you choose `before`?
5. The application does not crash; its machine stands still for a minute. An operator starts a
   second copy at the saved position. Then the first copy goes on. What happens with `together`?

<details><summary>Answers</summary>

1. The saved position was 40, the end of the second batch. The work was done for the offsets below
   32. After the crash the application continues at 40, so the 8 records from 32 to 39 get no work.
   This is *at most once*.
2. The saved position was 20. The 12 records from 20 to 31 get their work again. This is *at least
   once*. Only the receiver of the output can notice it, for example by the offsets in the output.
3. Output and position must be in the same system. An e-mail cannot be taken back, and is not in the
   transaction of a database. Then the receiver must be able to detect a repetition. (An example is
   a payment with a number: the bank refuses a number that it has seen.)
4. When a repetition is worse than a loss: an alarm by phone at night, or a measurement of which the
   next one comes in a second.
5. Both copies do the work for the same records. Each write has output and position together, but
   there are two writers. The database must refuse the old one. It needs a number like the epoch of
   a leader (lesson 6).

</details>

## Modify: the size of the batch

The crash stays before the work for record 32. Predict both columns for batches of 1, 5, 20 and 60
records, then run the cell. A save costs time: 60 records need 60 saves with the first size, and one
save with the last.
"""

# %%
print("batch  saves  missing with before  twice with after")
for batch in (1, 5, 20, 60):
    settings = {"batch": batch}
    missing = run_scenario(crash, settings={**settings, "order": "before"}).figures["missing"]
    twice = run_scenario(crash, settings={**settings, "order": "after"}).figures["twice"]
    print(f"{batch:>5}{RECORDS // batch:>7}{missing:>21}{twice:>18}")
    assert missing + twice == batch

# %% [markdown]
"""
In each row, the two numbers together give the size of the batch. The records of the batch without
work are missing in one case. Those with work are done twice in the other case. So a small batch
makes the damage small, and costs many saves. It does not make the damage zero. With a batch of 1,
the last column is 0 only because this crash comes *before* the work for a record. A crash between
the work and the save would do one record twice.

## Exercise: continue after a crash

This application writes lines to a file. For each record it appends zero to three lines, one write
per line. Each line has the offset of its record, and a flag: True in the last line of its record.
After some records, it writes its position to another file. It saves a position only after the work
for all records below it. The crash can come between any two writes, also between two lines of one
record. The disk has each write as a whole, and loses none.

Write the function that runs after the restart. Its arguments are

- `saved`: the saved position;
- `lines`: the lines of the file, such as `[(0, True), (2, False), (2, True), (3, False)]`.

It returns `(keep, position)`: the application keeps the first `keep` lines, deletes the rest of the
file, and reads from `position`. The promise: **the file is at the end the same as without a crash**
(*once with the output*). Under this promise, the position must be as high as possible: no work is
repeated without need. The function below runs, but its result is wrong. Correct it.
"""


# %%
def resume(saved: int, lines: list[tuple[int, bool]]) -> tuple[int, int]:
    """Return how many lines to keep, and the position to read from."""
    return len(lines), saved


# %% [markdown]
"""
The grader tries each crash of each application with three records, and finds all histories that
leave the same files. For each possible answer it runs the rest of each history, and compares the
file with that of a run without a crash. In its sentences, `0 0. 2.` means two lines of record 0 and
one line of record 2. The dot marks the last line of a record.
"""


# %%
def lines_of(records):
    """Return the lines for records, given as pairs of offset and number of lines."""
    return [(offset, part == count - 1) for offset, count in records for part in range(count)]


def text(lines):
    """Return the offsets of lines, with a dot after the last line of a record."""
    return " ".join(f"{offset}{'.' if last else ''}" for offset, last in lines) or "(none)"


def files_after_each_write(records, save_every):
    """Yield (saved, lines): the files of the application between two writes."""
    saved, lines = 0, ()
    yield saved, lines
    for offset, count in records:
        for line in lines_of([(offset, count)]):
            lines = (*lines, line)
            yield saved, lines
        if (offset + 1) % save_every == 0:
            saved = offset + 1
            yield saved, lines


def first_wrong(answer, lines, histories):
    """Return the first history in which an answer gives another file, None if there is none."""
    keep, position = answer
    for records in histories:
        if [*lines[:keep], *lines_of(records[position:])] != lines_of(records):
            return records
    return None


def cases():
    """Yield a case for each content of the two files."""
    found: dict = {}
    for counts in product(range(4), repeat=3):
        records = tuple(enumerate(counts))
        for save_every in (1, 2, 3):
            for files in files_after_each_write(records, save_every):
                found.setdefault(files, []).append(records)
    for saved, lines in sorted(found, key=lambda files: (len(files[1]), files)):
        histories = found[saved, lines]

        def reason(answer, lines=lines, histories=histories):
            """Return what is wrong with an answer."""
            if [type(number) for number in answer] != [int, int]:
                return "both must be integers"
            records = first_wrong(answer, lines, histories)
            if records is None:
                return "the file is correct, but work is repeated without need"
            return f"if the records give the lines {text(lines_of(records))}, the file is wrong"

        answers = product(range(len(lines) + 1), range(4))
        safe = [answer for answer in answers if not first_wrong(answer, lines, histories)]
        best = max(safe, key=lambda answer: answer[1])
        situation = f"With the saved position {saved} and the lines {text(lines)}"
        yield Case((saved, list(lines)), best, situation, reason)


passed = grade(resume, cases())

# %% [markdown]
"""
## Stretch: run the cluster with your function

The value of each record is its number of lines. The application reads the records with a consumer,
crashes after each possible number of writes, and continues with your function and a new consumer.
In the middle, the leader of the cluster crashes, so the later consumers read from another broker.
The offsets are the same there. The scenario expects the correct file each time. It also expects
that your function deletes no line of a complete record, and reads no record again that is certainly
done.

Then think: your function reads the whole file. What would you save, and how often, if the file had
a billion lines?

<details><summary>Answer</summary>

The number of lines, in the same write as the position. Then only the lines after it have to be
read. A save after each million lines is enough: a restart reads at most a million lines.

</details>
"""

# %%
COUNTS = (2, 0, 1, 3, 0, 0, 1, 2, 0, 3, 1, 0)
calls = []


def read_all(world: World, position: int) -> Script:
    """Read the records from a position; return pairs of offset and number of lines."""
    consumer = world.consumer(start_offset=position)
    number = len(COUNTS) - position
    yield world.until(lambda: len(consumer.reads) >= number, within=seconds(20))
    consumer.stop()
    return [(read.offset, int(read.value)) for read in consumer.reads]


@scenario(seed=9, brokers=3)
def with_your_function(world: World) -> Script:
    """Applications crash after each number of writes; the leader crashes once."""
    yield world.until_ready()
    producer = world.producer(values=[b"%d" % count for count in COUNTS])
    yield world.until(lambda: producer.finished, within=seconds(10))
    records = yield from read_all(world, 0)
    for writes, (saved, lines) in enumerate(files_after_each_write(records, save_every=5)):
        if writes == len(COUNTS) // 2:
            world.crash(world.leader)
        keep, position = resume(saved, list(lines))
        calls.append(writes)
        lowest = max([saved, *(offset for offset, _ in lines)])
        deleted = [line for line in lines[keep:] if line[1]]
        after = [*lines[:keep], *lines_of((yield from read_all(world, position)))]
        world.expect.that(
            f"The file is correct after a crash after {writes} writes",
            after == lines_of(records) and position >= lowest and not deleted,
            expected=f"{text(lines_of(records))}, position {lowest} or higher, no work deleted",
            happened=f"{text(after)}, position {position}, deleted: {text(deleted)}",
        )


checked = run_scenario(with_your_function)
reason = checked.reason or "no violation"
print("valid:", checked.valid, "-", reason.rpartition(" (")[0] or reason)
print(len(calls), "calls of your function,", len(checked.expectations), "files compared")
agrees = checked.valid is True and len(calls) == 1 + sum(COUNTS) + len(COUNTS) // 5
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

This project has no consumer groups. Its application stores its position itself, which Kafka's
consumers can do, too. Usually they use a *group*: consumers that share the partitions of a topic. A
broker, the *group coordinator*, adds four things to this lesson:

| here | with Kafka's group coordinator |
| --- | --- |
| the application saves its position on its disk | it *commits its offset*: `__consumer_offsets` |
| an operator starts another copy | the coordinator assigns the partitions of a failed member |
| no broker detects a crash | members send heartbeats, apart from their work (KIP-62) |
| two copies can run at the same time | a save with an old member epoch is refused |

The three orders stay. A consumer of Kafka saves its position every 5 seconds by default
(`enable.auto.commit`, `auto.commit.interval.ms`), during a later `poll`. This is at least once if
the work for the records of a `poll` is done before the next `poll`. Output and position together
(*exactly once*): transactions write the output records and the position in one step, if the output
is in Kafka, too (KIP-98, KIP-447). Since KIP-848, the coordinator itself computes the assignment,
and a change of the group does not stop all members.

The rule that consumers only read below the HW is R11 in `docs/protocol.md`, and is the same in
Kafka. Followers of Kafka can also serve reads (KIP-392), again below the HW.

**Next:** [lesson 10](10_disks.ipynb), disks that lose what they confirmed. The scenario
[idempotent_retry](../scenarios/idempotent_retry.py) shows the other side, a producer that repeats a
record: `yak sim run idempotent_retry`.
"""
