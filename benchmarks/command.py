"""The command ``yak bench``; it exists in a checkout only, like the benchmarks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from benchmarks.common import Row, show_rows
from yak_net.client.cli_types import HELP

ROOT: Final = Path(__file__).resolve().parents[1]
SECONDS: Final = 4.0
QUICK_SECONDS: Final = 0.5
OTHERS: Final = ("sim", "batch", "waiting", "net")
"""The benchmarks that ``all`` runs beside those of this command."""

Measure = Callable[[Sequence[str]], Awaitable[list[Row]]]
Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings=HELP)
def bench() -> None:
    """Measure rates and latencies of a cluster.

    Each line is one figure (docs/formats.md). Figures depend on the machine and on its other load;
    compare those of one run. See benchmarks/README.md.
    """


def servers_option(command: Command) -> Command:
    """Add the option for the brokers to measure."""
    return click.option(
        "-b", "--bootstrap-servers", "--bootstrap-server", "servers", metavar="HOST:PORT,...",
        help="Brokers of the cluster to measure.  [default: three own brokers, ended afterwards]",
    )(command)  # fmt: skip


def shared_options(command: Command) -> Command:
    """Add the options of all commands."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON objects, no table.")(
        command
    )
    return click.option("--quick", is_flag=True, help="Take seconds; the figures are unreliable.")(
        command
    )


def load_options(command: Command) -> Command:
    """Add the options for the records to send."""
    for option in (
        click.option("--size", type=click.IntRange(24, 1_000_000), default=100, show_default=True,
                     metavar="BYTES", help="Size of each value."),
        click.option("--seconds", type=click.FloatRange(0, min_open=True),
                     help=f"Duration.  [default: {SECONDS:g}]"),
        click.option("--count", type=click.IntRange(1), metavar="N",
                     help="Number of records (instead of --seconds)."),
        click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N",
                     help="Records per second.  [default: as many as possible]"),
        click.option("--acks", type=click.Choice(["all", "1"]), default="all", show_default=True,
                     help="Acknowledgement: by the ISR (all), the leader (1)."),
    ):  # fmt: skip
        command = option(command)
    return command


@bench.command("produce", context_settings=HELP)
@load_options
@servers_option
@shared_options
def produce_command(servers: str | None, quick: bool, as_json: bool, **given: Any) -> None:
    """Measure the producer.

    The figures are records per second, and the time to the acknowledgement of a record. The
    records stay in the log of the cluster.
    """
    from benchmarks.clients import produce

    load = _load(given, quick)
    _measure("Produce", servers, lambda urls: produce(urls, load), as_json)


@bench.command("consume", context_settings=HELP)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Duration.  [default: 4]")
@servers_option
@shared_options
def consume_command(servers: str | None, quick: bool, as_json: bool, seconds: float | None) -> None:
    """Measure the consumer.

    It reads the log from its first record, again and again.
    """
    from benchmarks.clients import Load, consume, produce

    duration = _seconds(seconds, quick)

    async def work(urls: Sequence[str]) -> list[Row]:
        if servers is None:  # an own cluster has an empty log
            await produce(urls, Load(100, duration))
        return await consume(urls, duration)

    _measure("Consume", servers, work, as_json)


@bench.command("e2e", context_settings=HELP)
@load_options
@servers_option
@shared_options
def e2e_command(servers: str | None, quick: bool, as_json: bool, **given: Any) -> None:
    """Measure the time from a send until a consumer has the record.

    One record is in flight. The records stay in the log of the cluster.
    """
    from benchmarks.clients import end_to_end

    load = _load(given, quick)
    _measure("End to end", servers, lambda urls: end_to_end(urls, load), as_json)


@bench.command("peers", context_settings=HELP)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    metavar="N",
    help="Rounds; the median is reported.  [default: 3; 1 with --quick]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    help="Seconds per measurement.  [default: 4]",
)
@shared_options
def peers_command(
    quick: bool, as_json: bool, rounds: int | None, seconds: float | None
) -> None:  # fmt: skip
    """Measure own brokers beside Redis and NATS in one run.

    The peers are Redis Streams with WAIT 2 and NATS JetStream with three replicas (R3). A peer that
    is not installed has a line with "skipped" and the reason. Each peer runs on loopback, in
    temporary folders, and is ended afterwards.
    """
    show_rows("Peers", _peers(quick, rounds, seconds), as_json)


@bench.command("all", context_settings=HELP)
@shared_options
def all_command(quick: bool, as_json: bool) -> None:
    """Run all benchmarks.

    These are produce, consume, e2e and peers, and those of the simulator, the codec, pending calls
    and the cluster (sim, batch, waiting, net).
    """
    from benchmarks.clients import Load, consume, end_to_end, produce

    load = Load(100, _seconds(None, quick))

    async def work(urls: Sequence[str]) -> list[Row]:
        rows = [*await produce(urls, load), *await consume(urls, load.seconds)]
        return [*rows, *await end_to_end(urls, load)]

    _measure("Clients", None, work, as_json)
    show_rows("Peers", _peers(quick, None, None), as_json)
    for name in OTHERS:
        words = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
        code = subprocess.run(words, cwd=ROOT, check=False).returncode
        if code:
            sys.exit(code if code > 0 else 1)


# -- helpers ---------------------------------------------------------------------------------------


def _seconds(seconds: float | None, quick: bool) -> float:
    return seconds or (QUICK_SECONDS if quick else SECONDS)


def _load(given: dict[str, Any], quick: bool) -> Any:
    from benchmarks.clients import Load

    acks = given["acks"] if given["acks"] == "all" else int(given["acks"])
    seconds = _seconds(given["seconds"], quick)
    return Load(given["size"], seconds, given["count"], given["rate"], acks)


def _peers(quick: bool, rounds: int | None, seconds: float | None) -> list[Row]:
    from rich.console import Console

    from benchmarks import peers

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Console(stderr=True).status("measuring") as status:
        return peers.run(
            _seconds(seconds, quick),
            rounds or (1 if quick else 3),
            1 if quick else peers.FAILOVERS,
            lambda step: status.update(step),
        )


def _measure(title: str, servers: str | None, work: Measure, as_json: bool) -> None:
    """Measure a cluster, an own one if none is given, and print the rows."""
    from rich.console import Console

    from benchmarks.clients import CannotMeasure, YakError

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    urls = _urls(servers)
    try:
        with Console(stderr=True).status(f"measuring: {title.lower()}"):
            rows = asyncio.run(_with_cluster(urls, work))
    except (CannotMeasure, YakError, TimeoutError) as error:
        raise click.ClickException(str(error) or "a record did not arrive in time") from error
    show_rows(title, rows, as_json)


def _urls(servers: str | None) -> tuple[str, ...]:
    from yak_net.client.options import servers_of

    try:
        return () if servers is None else servers_of(servers)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


async def _with_cluster(urls: tuple[str, ...], work: Measure) -> list[Row]:
    if urls:
        return await work(urls)
    from benchmarks.own_cluster import own_cluster

    async with own_cluster("batch") as cluster:
        return await work(cluster.servers)
