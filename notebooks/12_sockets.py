# %% [markdown]
"""
# Lesson 12. From simulation to sockets

After this lesson you can run the protocol of all lessons in three real processes, kill the leader
with SIGKILL, and check that no confirmed record is lost. You can explain why the real brokers and
the simulated ones take the same decisions. You write a check that reads the traces of real brokers.

*Time:* 60 minutes. *You need:* lessons 1 to 8. Run the cells from top to bottom. The brokers run in
a temporary folder, on free ports, and are stopped in the same cell.

| term | meaning |
| --- | --- |
| core | the code of the protocol (`yak_core`): events in, effects out, without sockets or disks |
| event | what happens to a broker: a message, a timer, a finished write to the disk |
| effect | what a broker wants: send a message, append to the log, answer a client |
| host | the code around the core that carries out effects: simulated, or with sockets and disks |
| trace | the file with each event of a broker, its time and its effects |
| to replay | to give the events of a trace to a new core, and compare the effects |
| SIGKILL | `kill -9`: the process ends at once; only what it has written to files stays |
| confirmed | acknowledged: the producer has received the answer that the record is committed |
"""

# %%
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, product
from pathlib import Path

from yak_core import Rules, Started, decode_trace
from yak_net import SyncConsumer, SyncProducer
from yak_sim import (
    Case,
    Script,
    World,
    grade,
    plot_watermarks,
    replay_paths,
    run_scenario,
    scenario,
    seconds,
)

# %% [markdown]
"""
## The scenario

The script is the same in both worlds. A producer sends 200 records. When 100 are confirmed, the
leader is killed while more records are on the way. The producer goes on. When all records are
confirmed, the killed broker is started again. First the simulated world:
"""

# %%
HALF, ALL = 100, 200


@scenario(seed=12, brokers=3)
def leader_killed(world: World) -> Script:
    """The leader is killed after half of the records, and comes back."""
    yield world.until_ready()
    killed = str(world.leader)
    producer = world.producer(values=ALL, rate_per_s=100)
    yield world.until(lambda: producer.acked_count >= HALF, within=seconds(20))
    world.crash(killed)
    yield world.until(lambda: producer.finished, within=seconds(60))
    world.restart(killed)
    yield world.until_back(killed)
    yield world.until_converged()
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()


simulated = run_scenario(leader_killed)
print("valid:", simulated.valid)

# %%
plot_watermarks(simulated.trace)

# %% [markdown]
"""
When n1 leads, it confirms at once, with n3, the records that waited (the steep line): min ISR is 2.
After its restart, the HW of n2 begins at the value that it saved last (every 300 ms: lesson 7),
and follows that of n1.

Now the real world. `yak cluster up` starts a metadata store and three brokers: processes with
sockets and files. `--trace` makes each broker write its trace. The context manager stops them also
when its block fails. `os.kill(pid, SIGKILL)` is `kill -9`.
"""


# %%
def yak(folder: Path, *words: str) -> str:
    """Run a command of yak for the cluster in a folder; return its output."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("YAK_")}
    done = subprocess.run(
        [sys.executable, "-m", "yak_cli", *words], cwd=folder, capture_output=True, text=True,
        env={**own, "YAK_CLUSTER_FILE": str(folder / "cluster.json")}, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, f"yak {' '.join(words)}: {done.stderr}"
    return done.stdout


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run three brokers; give their addresses. All processes end with the block."""
    try:
        yak(folder, "cluster", "up", "--detach", "--trace", "--port", "0", "--data-dir", "data")
        yield ",".join(json.loads((folder / "cluster.json").read_text())["bootstrap_servers"])
    finally:
        yak(folder, "cluster", "down")


def run_real(folder: Path) -> tuple[str, list[int], list[bytes | None], bool]:
    """Return the killed leader, all process ids, the values read, and if all were confirmed."""
    with cluster(folder) as servers:
        status = json.loads(yak(folder, "cluster", "status", "--json"))
        pids = {broker["id"]: broker["pid"] for broker in status["brokers"]}
        killed = status["leader"]
        values = [b"record %d" % number for number in range(ALL)]
        with SyncProducer(servers) as producer:
            for value in values[:HALF]:
                producer.send_and_wait(value)
            for value in values[HALF:]:
                producer.send(value)
                if killed in pids and producer.unresolved:
                    os.kill(pids.pop(killed), signal.SIGKILL)
            producer.flush(60_000)
            confirmed_all = producer.confirmed == ALL
        yak(folder, "cluster", "restart", killed)
        yak(folder, "cluster", "health", "--exit-when-healthy")
        with SyncConsumer(servers, auto_offset_reset="earliest") as consumer:
            read = []
            while len(read) < consumer.end_offset():
                read += [record.value for record in consumer.getmany(timeout_ms=1000)]
        status = json.loads(yak(folder, "cluster", "status", "--json"))
        running = [broker["pid"] for broker in status["brokers"]]
    return killed, [*pids.values(), *running], read, confirmed_all


# %% [markdown]
"""
## Predict

1. **How many of the 200 records can be read after the kill**, and how many are there twice? At the
   kill, at least one record was sent and not yet confirmed.
2. The simulated cluster had no leader for about three seconds. Is the real one without a leader
   for some milliseconds, some seconds or minutes?
3. Do the traces of real brokers, replayed, give the same effects?
"""

# %%
my_guess_read, my_guess_twice = 199, 1

# %% [markdown]
"""
## Run

The cell takes about fifteen seconds. Times and ports differ from run to run and are not printed.
"""


# %%
def is_running(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


with tempfile.TemporaryDirectory() as name:
    killed, pids, read, confirmed_all = run_real(Path(name))
    paths = sorted(Path(name, "data", "traces").glob("*.jsonl"), key=lambda path: path.stem)
    replays = [each.identical for each in replay_paths(paths)]
    real = [decode_trace(path.read_bytes().splitlines(True), incomplete=True) for path in paths]

print(f"Read: your number {my_guess_read}, result {len(read)}.")
print(f"Twice: your number {my_guess_twice}, result {len(read) - len(set(read))}.")
print("All records were confirmed:", confirmed_all)
print("Read in the order of sending:", read == [b"record %d" % n for n in range(ALL)])
print(len(replays), "traces replayed, all effects identical:", all(replays))
print("Processes that still run:", sum(map(is_running, pids)))
assert (confirmed_all, len(read), len(set(read))) == (True, ALL, ALL)
assert replays == [True] * 4
assert not any(map(is_running, pids))

# %% [markdown]
"""
## Explain

There are four traces of three brokers: after its restart, the killed broker began a second one. The
next cell finds the same six facts in both runs, and the first time of each. All processes of
one machine have the same clock. On three machines you would have to compare epochs instead. A
broker writes its trace some microseconds after its effects, so the trace of a killed broker can
lack the last of them. For that reason, the second fact is ten records before the kill.
"""


# %%
EARLIER = HALF - 10


def story_of(traces) -> list[tuple[str, int]]:
    """Return each fact of the story with its first time."""
    notes = [
        (step.t_us, step.node, type(effect.note).__name__, effect.note)
        for step in sorted(chain.from_iterable(traces), key=lambda step: step.t_us)
        for effect in step.carried_out
        if type(effect).__name__ == "Observe"
    ]
    hw = [(t, node, note.hw) for t, node, kind, note in notes if kind == "HighWatermarkAdvanced"]
    led = [(t, node, note.epoch) for t, node, kind, note in notes if kind == "BecameLeader"]
    half = next((t, node) for t, node, value in hw if value >= EARLIER)
    first, epoch = [(node, epoch) for t, node, epoch in led if t <= half[0]][-1]
    elected = next(t for t, node, e in led if node != first and e > epoch)
    back = [t for t, node, kind, _ in notes if (node, kind) == (first, "Registered")][-1]
    return [
        ("a first leader is elected", next(t for t, node, _ in led if node == first)),
        (f"its HW reaches {EARLIER}", half[0]),
        ("another broker is elected, with a higher epoch", elected),
        (f"its HW reaches {ALL}", next(t for t, n, v in hw if v >= ALL and n != first)),
        ("the first leader is registered again", back),
        (f"its HW reaches {ALL}", next(t for t, n, v in hw if v >= ALL and n == first)),
    ]


stories = {"simulated": story_of([simulated.trace]), "real": story_of(real)}
for name, story in stories.items():
    times = [time for _, time in story]
    in_order, gap_s = times == sorted(times), (times[2] - times[1]) / 1e6
    print(f"{name}: all six in this order: {in_order}, more than 2 s without a leader: {gap_s > 2}")
    assert in_order
    assert gap_s > 2
for number, (fact, time_us) in enumerate(stories["simulated"], 1):
    print(f"{number}. {fact} (simulated: {time_us / 1e6:.3f} s)")

# %% [markdown]
"""
1. Why can the effects be identical, although the times differ in each run?
2. The record that was on the way at the kill was sent again. Why is it not in the log twice?
3. Why does it take more than two seconds to elect a leader in both worlds?
4. A replay shows that a real broker decided as the core decides. What does it not show?

<details><summary>Answers</summary>

1. The core has no clock, no random numbers and no sockets. The time of an event is part of the
   event. So the effects depend on the events only, and a trace has all events.
2. The producer is idempotent (lesson 8): the batch has a producer id and a sequence number, and the
   new leader recognises both.
3. The lease is three seconds. The other brokers may take over only when the leader has not renewed
   it for this time (lesson 5). A SIGKILL says nothing to them. The time is a little shorter than
   the lease, because the lease begins with the last renewal, *before* the kill.
4. It does not show that the core is right: a core with a wrong rule gives the same wrong effects
   again. It does not show that the host is right: that a write is on the disk when the host says
   so, and that each message arrives unchanged. So the cell has also read the records back.

</details>

## Modify

Change `signal.SIGKILL` into `signal.SIGSTOP`, which pauses a process, and run the cells from
`run_real` on. Predict: do the other brokers see a difference between a dead and a paused leader?

<details><summary>Answer</summary>

No. Both renew no lease and answer nothing, so the output is the same. (`yak cluster restart` ends
the paused process before it starts a new one. Without it, the paused leader would be a zombie as
in lesson 6.)

</details>

Then plot a real broker: `plot_watermarks(real[0])` has the form of the simulated curves.

## Exercise: is a confirmed record missing?

Write a check that reads traces. The events of all brokers are tuples in one list. Only the events
of the same broker are sure to be in the order of time:

- `("leader", node, epoch)`: the broker was elected;
- `("append", node, offset, epoch)`: it appended a record at this offset, written in this epoch;
- `("truncate", node, end)`: it removed all records at `end` and above;
- `("confirm", offset, epoch)`: a leader confirmed the record of this epoch at this offset.

Return the sorted list of the offsets that were confirmed, but whose record is not in the log of the
last leader: the one with the highest epoch. Two records of different epochs at one offset are
different records. The function below runs, but its result is wrong. Correct it.
"""


# %%
def missing_offsets(events) -> list[int]:
    """Return the confirmed offsets that the last leader does not have."""
    confirmed = {event[1] for event in events if event[0] == "confirm"}
    appended = {event[2] for event in events if event[0] == "append"}
    return sorted(confirmed - appended)


# %% [markdown]
"""
The grader makes short histories of two brokers by hand. For each confirmed record, it looks
backwards for the last event that decided about this offset in the log of the last leader.
"""


# %%
def decided(events, node: str, offset: int) -> int:
    """Return the epoch of the record at an offset of a log in the end, 0 if there is none."""
    for event in reversed(events):
        if event[:3] == ("append", node, offset):
            return event[3]
        if event[:2] == ("truncate", node) and event[2] <= offset:
            return 0
    return 0


def histories():
    """Yield the events of two brokers: n1 leads epoch 1, n2 epoch 2, and maybe n1 epoch 3."""
    for own, copied, confirmed, new, third in product(
        range(4), range(4), range(4), range(3), (0, 3)
    ):
        if not own >= max(copied, confirmed):
            continue
        events = [("leader", "n1", 1)]
        events += [("append", "n1", offset, 1) for offset in range(own)]
        events += [("append", "n2", offset, 1) for offset in range(copied)]
        events += [("confirm", offset, 1) for offset in range(confirmed)]
        events.append(("leader", "n2", 2))
        for offset in range(copied, copied + new):
            events += [("append", "n2", offset, 2), ("confirm", offset, 2)]
        events.append(("truncate", "n1", copied))
        events += [("append", "n1", offset, 2) for offset in range(copied, copied + new - 1)]
        yield [*events, ("leader", "n1", third)] if third else events


def cases():
    """Yield each history with the offsets that are missing."""
    for events in histories():
        last = max((event[2], event[1]) for event in events if event[0] == "leader")[1]
        confirmed = {event[1:] for event in events if event[0] == "confirm"}
        lost = {offset for offset, epoch in confirmed if decided(events, last, offset) != epoch}
        yield Case((events,), sorted(lost), f"With {events}", f"the log of {last} decides")


passed = grade(missing_offsets, cases())

# %% [markdown]
"""
## Stretch: your check on both worlds

First the traces of the real run: nothing may be missing. Then a simulated cluster with a broken
rule, which commits what one replica has. Its leader is cut off from the other brokers and the
metadata store, and goes on to confirm. Your check must find as many records as the clients miss.
"""


# %%
def events_of(traces):
    """Yield the events of the exercise from traces."""
    batches = {}
    for step in chain.from_iterable(traces):
        node = step.node
        if isinstance(step.event, Started):
            yield "truncate", node, step.event.recovered.leo
        for effect in step.carried_out:
            kind = type(effect).__name__
            if kind == "AppendLog":
                for batch in effect.batches:
                    batches[node, batch.base_offset] = (batch.end, batch.epoch)
                    for offset in range(batch.base_offset, batch.end):
                        yield "append", node, offset, batch.epoch
            elif kind == "TruncateLog":
                yield "truncate", node, effect.end
            elif kind == "Observe" and type(effect.note).__name__ == "BecameLeader":
                yield "leader", node, effect.note.epoch
            elif kind == "Answer" and type(effect.result).__name__ == "ProduceResponse":
                base = effect.result.base_offset
                end, epoch = batches.get((node, base), (base, 0))
                for offset in range(base, end):
                    yield "confirm", offset, epoch


@scenario(seed=12, brokers=3)
def leader_cut_off(world: World) -> Script:
    """The leader is cut off from brokers and store, but not from the clients."""
    yield world.until_ready()
    producer = world.producer(rate_per_s=50)
    yield world.sleep(seconds(1))
    leader = str(world.leader)
    world.partition(leader, ("brokers", "store"))
    yield world.until(lambda: world.leader != leader, within=seconds(20))
    yield world.sleep(seconds(10))
    producer.stop()


broken = replace(Rules(), advance_high_watermark=lambda hw, *facts: max([hw, *facts[2].values()]))
world = run_scenario(leader_cut_off, rules=broken, observers=()).world
kept = {(batch.base_offset, batch.epoch) for batch in world.log_of(str(world.leader))}
found = missing_offsets(list(events_of([world.trace])))
acked = {(sent.base_offset, sent.epoch) for sent in world.producers[0].acked}
missed = acked - kept
in_real = missing_offsets(list(events_of(real)))
print("Real run, missing:", in_real)
print("Broken rule, found:", len(found), "missed by the clients:", len(missed))
agrees = in_real == [] and len(found) == len(missed) > 0
print("Passed:", passed and agrees)

# %% [markdown]
"""
## Where Kafka differs

| here | in Kafka |
| --- | --- |
| one core in simulator and brokers | only for the Raft of the controllers (KIP-595) |
| a trace of events is replayed | logs of text; a failure is read, not replayed |
| a lease of 3 s | a session of 9 s with the controller (`broker.session.timeout.ms`, KIP-631) |
| a killed broker with flushed data keeps its place | a killed broker leaves the ELR (KIP-966) |

`scenarios/leader_failover.py` is the simulated failover in detail: `yak sim run leader_failover`.
`yak demo` runs it in both worlds. On the command line: `yak sim replay data/traces/n1.jsonl`.

**Next:** this was the last lesson. `docs/tour.md` is a tour of the code; `docs/http.md` talks to
your cluster with curl.
"""
