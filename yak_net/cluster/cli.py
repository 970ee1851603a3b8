"""The command ``yak cluster``: starts and controls a cluster of brokers on this machine.

The commands find the supervisor through the state file and send it requests over HTTP.

Exit codes: 0 success, 1 failure or no running cluster, 2 invalid command line or options that the
cluster cannot be started with, 10 (status, health) not ready or not healthy, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from yak_net.cluster.cli_common import (
    DATA_DIR,
    EMBEDDED,
    HELP,
    REDIS_VARIABLES,
    CommandLineError,
    Failed,
    NotRunning,
    exit_codes,
    store_url,
)
from yak_net.cluster.cli_faults import (
    heal_command,
    partition_command,
    slow_command,
    wipe_command,
)
from yak_net.cluster.cli_recover import export_command, recover_command
from yak_net.cluster.cli_status import health_command, status_command
from yak_net.cluster.ports import PORT
from yak_net.cluster.supervisor_calls import call, call_supervisor, cluster_state
from yak_net.runtime.environment import EnvironmentCommand, with_variables
from yak_net.runtime.standard_streams import output_failed
from yak_net.runtime.state_file import holder_of, lock_path, state_path

if TYPE_CHECKING:
    from yak_net.cluster.service import ReportKind
    from yak_net.cluster.supervisor import ClusterSpec
    from yak_net.runtime.state_file import ClusterState

NODES_MAX: Final = 9
DOWN_TIMEOUT_S: Final = 40.0
POLL_S: Final = 0.05
FOLLOWED_LINES: Final = 10


@click.group(context_settings=HELP)
def cluster() -> None:
    """Run a cluster of brokers on this machine.

    The commands find the running cluster through the state file .yak/cluster.json in the current
    folder; YAK_CLUSTER_FILE selects another state file.
    """


@cluster.command(
    "up", cls=EnvironmentCommand, context_settings={**HELP, "auto_envvar_prefix": "YAK"}
)
@click.option(
    "--nodes", type=click.IntRange(1, NODES_MAX), metavar="N",
    help="Number of brokers: n1, n2, ...  [default: that of the existing cluster, or 3]",
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), default=DATA_DIR,
    show_default=True, metavar="DIR", help="Folder of the data and the broker logs.",
)
@click.option(
    "--redis", "--redis-url", "redis", envvar=REDIS_VARIABLES, default=EMBEDDED,
    show_default=True, metavar="URL",
    help="Metadata store; embedded: in the supervisor, not durable.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="BASE",
    help=f"First of consecutive ports, one per broker; 0: free ports.  [default: {PORT} if free]",
)
@click.option(
    "--cluster", "cluster_name", envvar="YAK_CLUSTER", default="yak", show_default=True,
    metavar="NAME", help="Cluster name.",
)
@click.option(
    "--flush", type=click.Choice(["batch", "os"]), default="batch", show_default=True,
    help="Acknowledge records that the ISR flushed (batch) or wrote (os).",
)
@click.option(
    "--min-isr", type=click.IntRange(1),
    help="Minimum ISR size of a new cluster.  [default: 2; 1 for one broker]",
)
@click.option("--trace", "traced", is_flag=True, help="Record traces of all brokers in DIR/traces.")
@click.option(
    "--detach", "-d", is_flag=True, help="Run in the background; return once a leader is ready."
)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=60, show_default=True,
    metavar="SECONDS", help="Time limit until a leader is ready.",
)
def up(
    nodes: int | None,
    data_dir: Path,
    redis: str,
    port: int | None,
    cluster_name: str,
    flush: str,
    min_isr: int | None,
    traced: bool,
    detach: bool,
    timeout: float,
) -> None:
    """Start a cluster. Ctrl-C stops it; with --detach, `yak cluster down` stops it.

    A broker that ends stays down until `yak cluster restart`. Each option can also be set by an
    environment variable: YAK_ and the name of the option in capitals.
    """
    from yak_net.cluster.service import launch, run_cluster
    from yak_net.cluster.supervisor import ClusterSpec

    data = data_dir.absolute()
    spec = ClusterSpec(
        nodes=nodes,
        data_dir=data,
        cluster=cluster_name,
        redis_url=store_url(redis),
        port=port or 0,
        preferred_port=PORT if port is None else 0,
        flush=flush,
        min_isr=min_isr,
        trace_dir=data / "traces" if traced else None,
        log_dir=data,
    )
    _check(spec)
    with Printer() as printer:
        if detach:
            code = launch(spec, state_path(), printer.report, timeout)
        else:
            code = asyncio.run(run_cluster(spec, state_path(), printer.report, timeout))
    if detach and code == 0:
        click.echo("the cluster runs in the background; stop it with yak cluster down", err=True)
    sys.exit(code)


class Printer:
    """Prints the reports of a start. On a terminal, shows progress until the result is known."""

    def __init__(self) -> None:
        from rich.console import Console

        self._spinner = Console(stderr=True).status("starting brokers, waiting for a leader")
        self._is_starting = True

    def __enter__(self) -> Printer:
        """Start the progress display."""
        self._spinner.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the progress display."""
        self._spinner.stop()

    def report(self, kind: ReportKind, text: str) -> None:
        """Print results on standard output, notes and failures on standard error."""
        from yak_net.cluster.service import ReportKind

        self._spinner.stop()
        with suppress(OSError):  # the cluster keeps running when the output is closed
            text = f"Error: {text}" if kind is ReportKind.FAILED else text
            click.echo(text, err=kind not in (ReportKind.LINE, ReportKind.READY))
        self._is_starting = self._is_starting and kind not in (ReportKind.READY, ReportKind.FAILED)
        if self._is_starting:
            self._spinner.start()


def _check(spec: ClusterSpec) -> None:
    """Check the broker settings before any process is started. Raises UsageError."""
    from yak_net.runtime.settings import BrokerSettings, SettingsError, check

    names = spec.names()
    urls = tuple((node, f"http://127.0.0.1:{number}") for number, node in enumerate(names, 1))
    try:
        check(
            BrokerSettings(
                "n1", brokers=urls, cluster=spec.cluster, min_isr=spec.min_isr,
                data_dir=spec.data_dir, redis_url=spec.redis_url,
            )
        )  # fmt: skip
    except SettingsError as error:
        message = with_variables(str(error), click.get_current_context())
        raise click.UsageError(message) from error


cluster.add_command(status_command)
cluster.add_command(health_command)


def _node_command(verb: str, summary: str, done: str) -> Callable[..., Any]:
    """Return the command ``yak cluster VERB NODE``; ``done`` is the verb of its output."""

    @cluster.command(verb, context_settings=HELP, help=summary)
    @click.argument("node", metavar="NODE")
    def command(node: str) -> None:
        pid = call_supervisor("POST", f"/nodes/{quote(node, safe='')}/{verb}").get("pid")
        click.echo(f"{node} {done}, pid {pid}")

    return command


kill = _node_command("kill", "Kill a broker with SIGKILL; it stays down until restart.", "killed")
restart = _node_command("restart", "Start a broker; stop it first if it runs.", "started")
pause = _node_command("pause", "Pause a broker with SIGSTOP until resume.", "paused")
resume = _node_command("resume", "Continue a paused broker with SIGCONT.", "resumed")


@cluster.command("logs", context_settings=HELP)
@click.argument("node", metavar="[NODE]", required=False)
@click.option(
    "-n", "--lines", type=click.IntRange(0), metavar="N",
    help=f"Print the last N lines of each log.  [default: all; with -f, {FOLLOWED_LINES}]",
)
@click.option("-f", "--follow", "following", is_flag=True, help="Print lines as they are added.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Data folder of a stopped cluster.  [default: .yak/data]",
)
def logs(node: str | None, lines: int | None, following: bool, data_dir: Path | None) -> None:
    """Print the logs of all brokers, or of the broker NODE."""
    from yak_net.cluster.process import log_path, read_logs

    folder, nodes = _find_logs(data_dir)
    if node is not None and node not in nodes:
        raise CommandLineError(f"no broker {node}; the brokers are {', '.join(nodes)}")
    found = {each: log_path(folder, each) for each in ([node] if node else nodes)}
    if lines is None and following:
        lines = FOLLOWED_LINES
    for each, line in read_logs(found, lines, follow=following, ended=output_failed):
        click.echo(f"{each} | {line}" if len(found) > 1 else line)


def _find_logs(data_dir: Path | None) -> tuple[Path, list[str]]:
    """Return the folder of the logs and the ids of the brokers."""
    state = None if data_dir else cluster_state()
    if state is not None:
        return Path(state.log_dir), [node for node, _ in state.brokers]
    folder = data_dir or DATA_DIR
    nodes = sorted(path.stem for path in folder.glob("n*.log") if path.stem[1:].isdigit())
    if not nodes:
        raise Failed(f"no broker log in {folder}; start a cluster with yak cluster up")
    return folder, nodes


@cluster.command("down", context_settings=HELP)
@click.option("--wipe", "wiping", is_flag=True, help="Then delete all records and metadata.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Data folder to wipe.  [default: that of the cluster, or .yak/data]",
)
@click.option(
    "--redis", "--redis-url", "redis", envvar=REDIS_VARIABLES, metavar="URL",
    help="Metadata store to wipe.  [default: that of the cluster]",
)
def down(wiping: bool, data_dir: Path | None, redis: str | None) -> None:
    """Stop the cluster of this folder, if it runs.

    With --wipe, its data folder is then emptied, and its metadata is deleted, also in Redis. Files
    that YAK has not written are kept.
    """
    state = cluster_state()
    if state is None:
        click.echo("no cluster is running")
    else:
        _stop(state)
    if wiping:
        folder = data_dir or (Path(state.data_dir) if state else DATA_DIR)
        _wipe(folder.absolute(), store_url(redis or (state.redis_url if state else "")))


def _stop(state: ClusterState) -> None:
    """Stop the cluster, and wait until its supervisor has ended. Raises Failed."""
    path = state_path()
    try:
        call(state, "POST", "/down")
    except NotRunning:
        # A supervisor that is stopping still holds the lock; one that died does not.
        if holder_of(lock_path(path)) is None:
            path.unlink(missing_ok=True)
            click.echo(
                f"no cluster is running: its supervisor (pid {state.supervisor}) did not stop "
                f"cleanly; removed {path}"
            )
            return
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while holder_of(lock_path(path)) is not None:
        if time.monotonic() > deadline:
            raise Failed(
                f"the supervisor (pid {state.supervisor}) did not stop within "
                f"{DOWN_TIMEOUT_S:g} s; kill that process, and its brokers stop too"
            )
        time.sleep(POLL_S)
    click.echo(f"cluster {state.cluster} stopped")


def _wipe(folder: Path, redis_url: str) -> None:
    from yak_net.cluster.wipe import wipe

    with exit_codes():
        deleted = asyncio.run(wipe(folder, redis_url))
    for what in deleted:
        click.echo(f"deleted {what}")


for _command in (partition_command, slow_command, heal_command, wipe_command):
    cluster.add_command(_command)
cluster.add_command(recover_command)
cluster.add_command(export_command)
