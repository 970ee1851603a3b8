"""``yak cluster``: a cluster of real brokers on this machine, and the commands for it.

State is never kept here: the commands ask the supervisor that the state file names.

Exit codes: 0 it worked, 1 it failed or no cluster runs, 2 the command line is wrong or the cluster
cannot be started with these options, 10 (status) no leader serves, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from yak_net.runtime.state_file import StateError, holder_of, lock_path, read_state, state_path

if TYPE_CHECKING:
    from yak_net.cluster.service import Kind
    from yak_net.cluster.supervisor import ClusterSpec
    from yak_net.runtime.state_file import ClusterState

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EMBEDDED: Final = "embedded"
DATA_DIR: Final = Path(".yak/data")
NODES_MAX: Final = 9
UNHEALTHY: Final = 10
CALL_S: Final = 90.0
"""A restart may take a graceful stop, and then a start."""
DOWN_S: Final = 40.0
LOOK_S: Final = 0.05
FOLLOWED_LINES: Final = 10


class Wrong(click.ClickException):
    """The command line is wrong: one sentence, exit code 2."""

    exit_code = 2


class Failed(click.ClickException):
    """A request failed: one sentence, exit code 1."""

    exit_code = 1


class NotRunning(Failed):
    """No supervisor answers at the control address."""


@click.group(context_settings=HELP)
def cluster() -> None:
    """Run a cluster of real brokers on this machine.

    The commands find the running cluster by the file .yak/cluster.json of the current folder, or
    the one that YAK_CLUSTER_FILE names.
    """


@cluster.command("up", context_settings={**HELP, "auto_envvar_prefix": "YAK"})
@click.option(
    "--nodes", type=click.IntRange(1, NODES_MAX), metavar="N",
    help="Number of brokers: n1, n2, ...  [default: 3, or as many as the cluster has already]",
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), default=DATA_DIR,
    show_default=True, metavar="DIR", help="Folder of the records and logs.",
)
@click.option(
    "--redis", "--redis-url", "redis", envvar=["YAK_REDIS", "YAK_REDIS_URL"], default=EMBEDDED,
    show_default=True, metavar="URL",
    help="Metadata store; embedded needs nothing installed, and is not durable.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="BASE",
    help="Port of the first broker; the others follow.  [default: free ones]",
)
@click.option(
    "--cluster", "cluster_name", envvar="YAK_CLUSTER", default="yak", show_default=True,
    metavar="NAME", help="Cluster name.",
)
@click.option(
    "--flush", type=click.Choice(["batch", "os"]), default="batch", show_default=True,
    help="batch: an acknowledged record was flushed by the ISR; os: it was written.",
)
@click.option(
    "--min-isr", type=click.IntRange(1),
    help="Min in-sync replicas of a new cluster.  [default: 2, or 1]",
)
@click.option("--trace", "traced", is_flag=True, help="Record every broker in DIR/traces.")
@click.option(
    "--detach", "-d", is_flag=True, help="Run in the background; return once a leader serves."
)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=60, show_default=True,
    metavar="SECONDS", help="Time limit for a leader to serve.",
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
    """Start a cluster, and stop it at Ctrl-C; with --detach, at `yak cluster down`.

    A broker that dies stays down until `yak cluster restart`. Every option can be set by the
    environment as well: YAK_ and its name in capitals.
    """
    from yak_net.cluster.service import launch, run_cluster
    from yak_net.cluster.supervisor import ClusterSpec

    data = data_dir.absolute()
    spec = ClusterSpec(
        nodes=nodes,
        data_dir=data,
        cluster=cluster_name,
        redis_url="" if redis == EMBEDDED else redis,
        port=port or 0,
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
        click.echo("it runs until yak cluster down", err=True)
    sys.exit(code)


class Printer:
    """Prints the reports of a start; on a terminal, shows progress until it has an outcome."""

    def __init__(self) -> None:
        from rich.console import Console

        self._spinner = Console(stderr=True).status("starting brokers, waiting for a leader")
        self._waiting = True

    def __enter__(self) -> Printer:
        """Begin to show progress."""
        self._spinner.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show no more progress."""
        self._spinner.stop()

    def report(self, kind: Kind, text: str) -> None:
        """Print the result on standard output, all else on standard error."""
        from yak_net.cluster.service import Kind

        self._spinner.stop()
        with suppress(OSError):  # nobody reads it, and the cluster goes on
            text = f"Error: {text}" if kind is Kind.FAILED else text
            click.echo(text, err=kind not in (Kind.LINE, Kind.READY))
        self._waiting = self._waiting and kind not in (Kind.READY, Kind.FAILED)
        if self._waiting:
            self._spinner.start()


def _check(spec: ClusterSpec) -> None:
    """Refuse before anything is started what the brokers would refuse. Raises UsageError."""
    from yak_net.runtime.settings import BrokerSettings, SettingsError, check

    names = spec.names()
    urls = tuple((node, f"http://127.0.0.1:{number}") for number, node in enumerate(names, 1))
    try:
        check(BrokerSettings("n1", brokers=urls, cluster=spec.cluster, min_isr=spec.min_isr))
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


@cluster.command("status", context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, as GET /v1/cluster gives.")
def status(as_json: bool) -> None:
    """Show the leader and each broker's state; exit code 10 when no leader serves."""
    from yak_net.cluster.status import ClusterStatus, show

    found = ClusterStatus.from_dict(_call("GET", "/status"))
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        show(found)
    sys.exit(0 if found.serves else UNHEALTHY)


def _command(verb: str, summary: str, done: str) -> Callable[..., Any]:
    """A command that does one thing to one broker."""

    @cluster.command(verb, context_settings=HELP, help=summary)
    @click.argument("node", metavar="NODE")
    def command(node: str) -> None:
        pid = _call("POST", f"/nodes/{quote(node, safe='')}/{verb}").get("pid")
        click.echo(f"{node} {done}, pid {pid}")

    return command


kill = _command("kill", "Kill a broker with SIGKILL; it stays down until restart.", "is killed")
restart = _command("restart", "Start a broker, after stopping it if it runs.", "runs")
pause = _command("pause", "Stop a broker with SIGSTOP until resume.", "is paused")
resume = _command("resume", "Continue a paused broker with SIGCONT.", "runs on")


@cluster.command("logs", context_settings=HELP)
@click.argument("node", metavar="[NODE]", required=False)
@click.option(
    "-n", "--lines", type=click.IntRange(0), metavar="N",
    help=f"The last N lines of each broker.  [default: all, with -f {FOLLOWED_LINES}]",
)
@click.option("-f", "--follow", "following", is_flag=True, help="Print lines as they are added.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Data folder of a cluster that does not run.  [default: .yak/data]",
)
def logs(node: str | None, lines: int | None, following: bool, data_dir: Path | None) -> None:
    """Print the logs of the brokers, or of the broker NODE alone."""
    from yak_net.cluster.process import log_path, read_logs

    folder, nodes = _logs(data_dir)
    if node is not None and node not in nodes:
        raise Wrong(f"there is no broker {node}; there are {', '.join(nodes)}")
    found = {each: log_path(folder, each) for each in ([node] if node else nodes)}
    if lines is None and following:
        lines = FOLLOWED_LINES
    for each, line in read_logs(found, lines, follow=following):
        click.echo(f"{each} | {line}" if len(found) > 1 else line)


def _logs(data_dir: Path | None) -> tuple[Path, list[str]]:
    """Return the folder of the logs, and the brokers that have one."""
    state = None if data_dir else _state()
    if state is not None:
        return Path(state.log_dir), [node for node, _ in state.brokers]
    folder = data_dir or DATA_DIR
    nodes = sorted(path.stem for path in folder.glob("n*.log") if path.stem[1:].isdigit())
    if not nodes:
        raise Failed(f"no broker has logged to {folder}: start a cluster with yak cluster up")
    return folder, nodes


@cluster.command("down", context_settings=HELP)
def down() -> None:
    """Stop the cluster of this folder, if one runs."""
    path, state = state_path(), _state()
    if state is None:
        click.echo("no cluster runs here")
        return
    try:
        call(state, "POST", "/down")
    except NotRunning:
        # It may be stopping already; its lock tells that from a supervisor that is gone.
        if holder_of(lock_path(path)) is None:
            path.unlink(missing_ok=True)
            click.echo(
                f"no cluster runs here: its supervisor, process {state.supervisor}, did not stop "
                f"cleanly; {path} is removed"
            )
            return
    deadline = time.monotonic() + DOWN_S
    while holder_of(lock_path(path)) is not None:
        if time.monotonic() > deadline:
            raise Failed(
                f"the supervisor, process {state.supervisor}, still runs after {DOWN_S:g} s: kill "
                "it, and its brokers end as well"
            )
        time.sleep(LOOK_S)
    click.echo(f"cluster {state.cluster} is stopped")


def _state() -> ClusterState | None:
    try:
        return read_state(state_path())
    except StateError as error:
        raise Failed(str(error)) from error


def _call(method: str, path: str) -> dict[str, Any]:
    """Call the supervisor of this folder. Raises Failed, Wrong."""
    state = _state()
    if state is None:
        raise Failed(f"no cluster runs here ({state_path()}): start one with yak cluster up")
    return call(state, method, path)


def call(state: ClusterState, method: str, path: str) -> dict[str, Any]:
    """Give one command to a supervisor, and wait until it is done. Raises Failed, Wrong."""
    # Not urllib, which would go through a proxy where one is set.
    host, _, port = state.control.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=CALL_S)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {state.token}"})
        answer = connection.getresponse()
        status, body = answer.status, dict(json.loads(answer.read()))
    except TimeoutError as error:
        raise Failed(f"the supervisor gave no answer within {CALL_S:g} s") from error
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        status, body = 0, {"error": error}
    finally:
        connection.close()
    if status in (0, 401):
        raise NotRunning(
            f"no cluster runs here, its supervisor (process {state.supervisor}) does not answer at "
            f"{state.control}: start one with yak cluster up"
        )
    if status != 200:
        kind = Wrong if status == 404 else Failed
        raise kind(str(body["error"]))
    return body
