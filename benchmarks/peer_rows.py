"""Rows of ``yak bench peers``: which figures are compared, and under which settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.common import Row
from benchmarks.large_log import SMALL_BYTES
from benchmarks.net import Figures

REDIS: Final = "Redis Streams, 2 replicas, WAIT 2, no fsync"
NATS: Final = "NATS JetStream R3, fsync each 2 min"
RABBIT: Final = "RabbitMQ stream R3, no fsync"
REDIS_CLI: Final = f"redis-cli, {REDIS}"
LINES: Final = "redis-cli"
LARGE_LOG: Final = "large log"
PREFIXES: Final = {REDIS: "redis", NATS: "nats", RABBIT: "rabbit"}
OURS: Final = "acks=all, 3 in the ISR"
SMALL: Final = 100
MEDIUM: Final = 1024
LARGE: Final = 64 * 1024
SIZES: Final = {SMALL: "100 B", MEDIUM: "1 KiB", LARGE: "64 KiB"}
LEASE_S: Final = 3.0
FORMS: Final = {"batch_produce": "256 KiB batches", "produce": "default client"}


def rows_of(
    figures: Figures, absent: dict[str, str], lines: int, large_bytes: int
) -> Iterator[Row]:
    """Return all rows; ``absent`` has the reasons for what was not measured."""
    yield from _beside_peers(figures, absent)
    yield from _of_the_command_line(figures, absent, lines)
    yield from _of_failovers(figures, absent)
    yield from _of_large_logs(figures, absent, large_bytes)
    yield from _alone(figures)


def _beside_peers(figures: Figures, absent: dict[str, str]) -> Iterator[Row]:
    """Return the rows of records: rates and latencies beside each peer."""

    def beside(figure: str, form: str, ours: str, theirs: str) -> Iterator[Row]:
        setting = f"{form}, {OURS}, flush=os"
        if all(peer in absent for peer in PREFIXES):
            yield _row(figures, figure, None, setting, f"os {ours}")
        for peer, prefix in PREFIXES.items():
            if peer in absent:
                yield Row(figure, peer, setting, skipped=absent[peer])
            else:
                yield _row(figures, figure, peer, setting, f"os {ours}", f"{prefix} {theirs}")

    for size, unit in ((SMALL, "records_per_s"), (MEDIUM, "mb_per_s"), (LARGE, "mb_per_s")):
        for name, form in FORMS.items():
            if (name, size) != ("produce", LARGE):
                yield from beside(
                    f"{name}_{unit}", f"{SIZES[size]}, {form}",
                    f"{name} {size} {unit}", f"produce {size} {unit}",
                )  # fmt: skip
    unit = "records_per_s"
    yield from beside(f"read_{unit}", SIZES[SMALL], f"read {SMALL} {unit}", f"read {SMALL} {unit}")
    yield from beside("ack_p50_us", f"{SIZES[SMALL]}, one in flight", "ack p50_us", "ack p50_us")


def _of_the_command_line(figures: Figures, absent: dict[str, str], lines: int) -> Iterator[Row]:
    setting = f"{lines:,} lines of {SIZES[SMALL]}, one process, {OURS}, flush=os"
    for name in ("cli_produce", "cli_consume"):
        figure = f"{name}_lines_per_s"
        if LINES in absent:
            yield _row(figures, figure, None, setting, f"os {name}")
            yield Row(figure, REDIS_CLI, setting, skipped=absent[LINES])
        else:
            yield _row(figures, figure, REDIS_CLI, setting, f"os {name}", f"redis {name}")


def _of_failovers(figures: Figures, absent: dict[str, str]) -> Iterator[Row]:
    for name, how in (("failover", "kill -9"), ("handover", "SIGTERM")):
        count = len(figures.found.get(f"os {name}", ()))
        setting = f"{how} of the leader, {count} times, {OURS}, flush=os"
        ours = figures.get(f"os {name}"), figures.range(f"os {name}")
        yield Row(f"{name}_s", "lease", setting, ours[0], LEASE_S, ours_range=ours[1])
        if NATS in absent:
            yield Row(f"{name}_s", NATS, setting, skipped=absent[NATS])
        else:
            yield _row(figures, f"{name}_s", NATS, setting, f"os {name}", f"nats {name}")


def _of_large_logs(figures: Figures, absent: dict[str, str], large_bytes: int) -> Iterator[Row]:
    peer = f"log of {SMALL_BYTES / 1e6:,.0f} MB"
    setting = f"log of {large_bytes / 1e6:,.0f} MB, {SIZES[SMALL]}, {OURS}, flush=os"
    for figure, name in (
        ("large_log_produce_records_per_cpu_s", "log produce records_per_cpu_s"),
        ("large_log_read_records_per_cpu_s", "log read records_per_cpu_s"),
        ("large_log_recovery_s", "log recovery"),
    ):
        if LARGE_LOG in absent:
            yield Row(figure, peer, setting, skipped=absent[LARGE_LOG])
        else:
            yield _row(figures, figure, peer, setting, f"large {name}", f"small {name}")


def _alone(figures: Figures) -> Iterator[Row]:
    """Return the rows of our cluster beside itself, and beside the bare echo."""
    paced, setting = "ack_p50_at_100_per_s", f"{SIZES[SMALL]}, {OURS}, flush=os"
    yield _row(figures, paced, "back to back", setting, "os paced p50_us", "os ack p50_us")
    ratio, bare = (
        _ratio(figures.get(f"{subject} paced p50_us"), figures.get(f"{subject} ack p50_us"))
        for subject in ("os", "echo")
    )
    yield Row("ack_p50_at_100_per_s_ratio", "bare echo, 3 processes", setting, ratio, bare)
    for name, form in (("small_batch_produce", "64 KiB batches"), *FORMS.items()):
        figure = f"{name} {SMALL} records_per_s"
        setting = f"{SIZES[SMALL]}, {form}, {OURS}, flush=batch"
        yield _row(
            figures, "flush_batch_over_os", "flush=os", setting, f"batch {figure}", f"os {figure}"
        )
    yield _row(figures, "broker_peak_mib", None, "largest of 3, flush=os", "os peak")


def _row(
    figures: Figures, figure: str, peer: str | None, setting: str, ours: str, theirs: str = ""
) -> Row:
    """Return a row of measured values with their ranges."""
    return Row(
        figure, peer, setting, figures.get(ours), figures.get(theirs),
        ours_range=figures.range(ours), theirs_range=figures.range(theirs),
    )  # fmt: skip


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or not theirs else ours / theirs
