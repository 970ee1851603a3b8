"""CPU profile of a real cluster under load.

    python -m benchmarks.profile_net [--flush os|batch] [--load LOAD] [--seconds S] [--lines N]

Runs a cluster whose brokers profile themselves with cProfile, under one load of ``benchmarks.net``
with records of ``--size`` bytes. Prints a profile of the leader, of a follower and of the client:
the CPU share of each of our modules and each other package, then the functions with the most own
CPU time (tottime). cProfile covers main threads only, so not the disk threads. It overstates
functions that make many calls. It slows everything down, so its rates are no benchmark figures.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import io
import os
import pstats
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.own_cluster import BATCH_BYTES, OwnCluster, own_cluster, produce_alone
from benchmarks.procs import Flow, Latencies
from benchmarks.servers import module_command

ROOT: Final = Path(__file__).parents[1]
SECONDS: Final = 4.0
LINES: Final = 30
BUILT_IN: Final = "~"
BULK_BYTES: Final = 256 * 1024
BYTES_MAX: Final = 512_000_000
BEGIN: Final = signal.SIGUSR1
END: Final = signal.SIGUSR2
LOADS: Final = ("batches", "bulk", "produce", "read", "ack", "alone")


def profiler() -> cProfile.Profile:
    """Return a profiler of thread CPU time; wall time would include other load."""
    return cProfile.Profile(time.thread_time)


def run_broker(folder: Path, arguments: list[str]) -> None:
    """Run ``yak broker WORDS``, profiled between the signals BEGIN and END."""
    import yak_cli

    node = arguments[arguments.index("--node-id") + 1]
    sys.argv = ["yak", *arguments]
    profile = profiler()
    signal.signal(BEGIN, lambda _, __: profile.enable())
    signal.signal(END, lambda _, __: profile.disable())
    try:
        yak_cli.main()
    finally:
        profile.disable()
        profile.dump_stats(folder / f"{node}.prof")


def text_of(source: cProfile.Profile | str, lines: int) -> str:
    """Return the shares and the most expensive functions, with shortened paths."""
    out = io.StringIO()
    stats = pstats.Stats(source, stream=out)
    stats.sort_stats("tottime").print_stats(lines)
    parts = "\n".join(f"{share:6.1%}  {part}" for part, share in shares(stats).items())
    return _shortened(f"{parts}\n{out.getvalue()}")


def shares(stats: pstats.Stats) -> dict[str, float]:
    """Return the share of each part of the program, the largest first, if it is at least 1%.

    The time of a built-in function counts for its caller.
    """
    part_s: dict[str, float] = {}
    rows: dict[tuple[str, int, str], Any] = stats.stats  # type: ignore[attr-defined]
    for (file, _, _), (_, _, own_s, _, callers) in rows.items():
        if file != BUILT_IN or not callers:
            part_s[_part(file)] = part_s.get(_part(file), 0.0) + own_s
            continue
        for (caller, _, _), (_, _, share_s, _) in callers.items():
            part_s[_part(caller)] = part_s.get(_part(caller), 0.0) + share_s
    total = max(sum(part_s.values()), 1e-9)
    ordered = sorted(part_s.items(), key=lambda item: -item[1])
    return {part: own_s / total for part, own_s in ordered if own_s >= total / 100}


def _part(file: str) -> str:
    """Return the module for our files, the package for others."""
    short = _shortened(file)
    return short if short.startswith(("yak", "bench")) else "/".join(short.split("/")[:2])


def _shortened(text: str) -> str:
    here = f"{ROOT}/"
    for prefix in (here, ".venv/lib/", f"{sys.base_prefix}/lib/", "site-packages/"):
        text = text.replace(prefix, "")
    return text


async def run_load(cluster: OwnCluster, load: str, value: bytes, seconds: float) -> str:
    """Run the load on the cluster, and return a line with its result."""
    result: Flow | Latencies
    if load == "batches":
        result = await cluster.produce_batches(value, BATCH_BYTES, seconds, BYTES_MAX)
    elif load == "bulk":
        result = await cluster.produce_batches(value, BULK_BYTES, seconds, BYTES_MAX)
    elif load == "ack":
        result = await cluster.latencies(value, seconds)
    elif load == "read":
        result = await cluster.read(value, seconds)
    else:
        result = await cluster.produce(value, seconds, BYTES_MAX)
    if isinstance(result, Flow):
        return f"{result.records_per_s:,.0f} records/s with profiling, {result.cost}"
    return f"p50 {result.p50_us:,.0f} us with profiling, {result.cost}"


async def run_profiled(
    folder: str, client: cProfile.Profile, args: argparse.Namespace
) -> tuple[str, str]:
    """Run cluster, load and profilers. Return the leader and a line with the result."""
    command = (*module_command("benchmarks.profile_net"), "--broker", folder, "broker")
    value = b"x" * args.size
    async with own_cluster(args.flush, command) as cluster:
        leader = await cluster.leader()
        if args.load == "read":
            await cluster.produce(value, args.seconds, BYTES_MAX)
        for pid in cluster.pids:
            os.kill(pid, BEGIN)
        client.enable()
        result_line = await run_load(cluster, args.load, value, args.seconds)
        client.disable()
        for pid in cluster.pids:
            os.kill(pid, END)
    return leader, f"{args.load}, {args.size} B, flush={args.flush}: {result_line}"


def profile_cluster(args: argparse.Namespace) -> None:
    """Profile a cluster and print the profiles."""
    client = profiler()
    # The brokers start elsewhere, and an installation has no package of this name.
    paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    with tempfile.TemporaryDirectory(prefix="yak-profile-") as folder:
        leader, result_line = asyncio.run(run_profiled(folder, client, args))
        print(result_line)
        profiles = {path.stem: str(path) for path in sorted(Path(folder).glob("*.prof"))}
        print(f"\nleader\n{text_of(profiles.pop(leader), args.lines)}")
        print(f"\nfollower\n{text_of(next(iter(profiles.values())), args.lines)}")
    print(f"\nclient\n{text_of(client, args.lines)}")


def profile_alone(size: int, seconds: float, lines: int) -> None:
    """Profile the producer with a runtime that acknowledges immediately."""
    client = profiler()
    flow = client.runcall(asyncio.run, produce_alone(b"x" * size, seconds))
    print(f"alone, {size} B: {flow.records_per_s:,.0f} records/s with profiling")
    print(text_of(client, lines))


def main() -> None:
    """Profile and print; with ``--broker FOLDER broker ...``, run as one of the brokers."""
    if sys.argv[1:2] == ["--broker"]:
        run_broker(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description="CPU profile of a real cluster under load.")
    parser.add_argument("--flush", choices=("os", "batch"), default="os")
    parser.add_argument("--load", choices=LOADS, default="produce")
    parser.add_argument("--size", type=int, default=100, help="bytes per record value")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--lines", type=int, default=LINES, help="functions shown per process")
    args = parser.parse_args()
    if args.load == "alone":
        profile_alone(args.size, args.seconds, args.lines)
        return
    profile_cluster(args)


if __name__ == "__main__":
    main()
