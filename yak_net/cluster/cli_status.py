"""The commands ``yak cluster status`` and ``yak cluster health``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from yak_net.cluster.cli_common import HELP, exit_codes
from yak_net.cluster.errors import ClusterError
from yak_net.cluster.supervisor_calls import call_supervisor
from yak_net.runtime.standard_streams import output_failed

if TYPE_CHECKING:
    from yak_net.cluster.health import ClusterHealth
    from yak_net.cluster.status import ClusterStatus

NOT_READY: Final = 10
"""Exit code of a cluster that is not ready, or not healthy."""
WATCH_S: Final = 0.5
"""Seconds between two looks at a cluster that is watched."""

SERVERS: Final = click.option(
    "-b", "--bootstrap-servers", "--bootstrap-server", "servers", metavar="HOST:PORT,...",
    help="Brokers of any cluster.  [default: the cluster of this folder]",
)  # fmt: skip


@click.command("status", context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, like GET /v1/cluster.")
@SERVERS
def status_command(as_json: bool, servers: str | None) -> None:
    """Show the leader and the state of each broker.

    If no leader can commit records, the reason is printed, and the exit code is 10. It is 1 if no
    cluster runs, or if no broker answers at HOST:PORT.
    """
    from yak_net.cluster.status import print_status

    urls = _urls_of(servers)
    with exit_codes():
        found = _status_at(urls)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        print_status(found)
    sys.exit(0 if found.serves else NOT_READY)


@click.command("health", context_settings=HELP)
@click.option("-w", "--watch", is_flag=True, help="Print the health again after each change.")
@click.option("-e", "--exit-when-healthy", is_flag=True, help="Watch until the cluster is healthy.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per health.")
@SERVERS
def health_command(
    watch: bool, exit_when_healthy: bool, as_json: bool, servers: str | None
) -> None:
    """Show whether the cluster is healthy, and if not, why.

    It is healthy if a leader can commit records, and all brokers respond, report no problem and are
    in the ISR. Otherwise the exit code is 10; a cluster that is not healthy may still commit
    records, see `yak cluster status`. The exit code is 1 if no cluster runs, or if no broker
    answers at HOST:PORT.
    """
    urls = _urls_of(servers)
    watching = watch or exit_when_healthy
    seen: ClusterHealth | None = None
    while True:
        with exit_codes():
            found = _health_at(urls, watching=watching)
        if found != seen:
            if seen is not None and not as_json:
                click.echo()
            click.echo(json.dumps(found.as_json()) if as_json else "\n".join(found.lines()))
            seen = found
        if not watching or (exit_when_healthy and found.is_healthy):
            break
        if output_failed() and not exit_when_healthy:
            break
        time.sleep(WATCH_S)
    sys.exit(0 if found.is_healthy else NOT_READY)


def _urls_of(servers: str | None) -> tuple[str, ...]:
    """Return the URLs of ``-b``; none without it. Raises UsageError."""
    from yak_net.runtime.settings import SettingsError, parse_urls

    if servers is None:
        return ()
    try:
        urls = parse_urls(servers)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    if not urls:
        raise click.UsageError("--bootstrap-servers must be HOST:PORT, got an empty list")
    return tuple(urls)


def _status_at(urls: tuple[str, ...]) -> ClusterStatus:
    """Return the status of the cluster at ``urls``, or of this folder.

    Raises ClusterError, and Failed if no supervisor answers.
    """
    from yak_net.cluster.status import ClusterStatus

    if not urls:
        return ClusterStatus.from_dict(call_supervisor("GET", "/status"))
    from yak_net.cluster.status_requests import remote_status

    return asyncio.run(remote_status(urls))


def _health_at(urls: tuple[str, ...], *, watching: bool) -> ClusterHealth:
    """Return the health of the cluster. While watching, brokers that do not answer are a reason."""
    from yak_net.cluster.health import ClusterHealth, health_of

    try:
        return health_of(_status_at(urls))
    except ClusterError as error:
        if not watching:
            raise
        return ClusterHealth(reasons=(str(error),))
