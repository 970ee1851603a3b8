"""The commands ``yak cluster recover`` and ``yak cluster export-record``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yak_net.cluster.cli_common import (
    DATA_DIR,
    HELP,
    REDIS_VARIABLES,
    exit_codes,
    store_url,
)

if TYPE_CHECKING:
    from yak_net.cluster.folders import Place
    from yak_net.cluster.recovery import Request

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("recover", context_settings=HELP)
@click.option(
    "--data-dir", "roots", type=FOLDER, multiple=True, default=[DATA_DIR], show_default=True,
    metavar="DIR", help="Folder of a cluster or of one broker; may be repeated.",
)
@click.option(
    "--redis", "--redis-url", "redis", envvar=REDIS_VARIABLES, metavar="URL",
    help="Metadata store to rebuild; embedded: in the first DIR.  [default: that of the data]",
)
@click.option(
    "--cluster", "cluster_name", metavar="NAME", help="Cluster name.  [default: that of the data]"
)
@click.option(
    "--record", "records", type=FILE, multiple=True, metavar="FILE",
    help="Exported record of a folder on another machine; may be repeated.",
)
@click.option("--accept-loss", is_flag=True, help="If necessary, keep only the most complete log.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
def recover_command(
    roots: tuple[Path, ...],
    redis: str | None,
    cluster_name: str | None,
    records: tuple[Path, ...],
    accept_loss: bool,
    dry_run: bool,
) -> None:
    """Rebuild the metadata store after it was emptied.

    All brokers must be stopped. The store gets back the newest partition state that the brokers
    have saved. Nothing is lost by that. It needs the data folders of all brokers: a missing one may
    have a newer state. For a folder on another machine, run `yak cluster export-record` there, and
    give the file with --record.

    If a folder is missing or damaged, or has the state of another store, nothing is changed, and
    the message names the folder. With --accept-loss, the log with the greatest (last epoch, end) is
    then kept. A new store begins with it, and the other folders are moved to DIR/dropped. What is
    given up is printed, and noted in DIR/recoveries.jsonl.

    The exit code is 1 if the store cannot be rebuilt. `yak cluster up` does what is possible
    without loss by itself.
    """
    from yak_net.cluster.recovery import Request

    absolute = tuple(root.absolute() for root in roots)
    request = Request(absolute, cluster_name or "", accept_loss, dry_run)
    with exit_codes():
        asyncio.run(_recover(request, redis, records))


async def _recover(request: Request, redis: str | None, records: tuple[Path, ...]) -> None:
    from yak_net.cluster.errors import CannotStart
    from yak_net.cluster.folders import read_record
    from yak_net.cluster.metadata import SavedMetadata, client_of
    from yak_net.cluster.recovery import recover

    exported = [read_record(path) for path in records]
    with _all_locked(request) as local:
        places = [*local, *exported]
        cluster = request.cluster or _only_cluster(places)
        url = _store_url(redis, places)
        embedded = None
        if not url:
            root = request.roots[0]
            if len(request.roots) > 1:
                raise CannotStart(
                    "an embedded metadata store needs one --data-dir, got "
                    f"{len(request.roots)}; give the URL of the store with --redis"
                )
            embedded = SavedMetadata(root, cluster, _say)
            url = await embedded.start()
            if embedded.damage:
                _say(f"ignored: {embedded.damage}")
        store = client_of(url, cluster)
        try:
            await recover(request, places, store, _say)
            if embedded is not None and not request.dry_run:
                await embedded.keep_saved()
        finally:
            await store.close()
            if embedded is not None:
                await embedded.close()


@contextmanager
def _all_locked(request: Request) -> Iterator[list[Place]]:
    """Lock the folders of the clusters and of their brokers, and read them. Raises ClusterError."""
    from yak_net.cluster.errors import ClusterError, start_errors
    from yak_net.cluster.folders import lock_cluster, locked, place_of, used_places
    from yak_net.storage.folder import IDENTITY

    with ExitStack() as held:
        for root in request.roots:
            if not root.is_dir():
                raise ClusterError(f"there is no folder {root}; correct --data-dir")
            if (root / IDENTITY).exists():
                continue  # the folder of one broker, locked below
            with start_errors(f"lock {root}"):
                held.callback(os.close, lock_cluster(root))
        folders = held.enter_context(locked(request.roots, request.cluster))
        yield used_places([place_of(each, with_log=True) for each in folders], request.roots)


def _only_cluster(places: list[Place]) -> str:
    """Return the cluster of all places. Raises CannotStart if they have several, or none."""
    from yak_net.cluster.errors import CannotStart

    names = sorted({place.cluster for place in places if place.cluster})
    if len(names) > 1:
        raise CannotStart(f"the data folders belong to several clusters: {', '.join(names)}")
    if not names:
        raise CannotStart("no data folder of a broker was found; correct --data-dir")
    return names[0]


def _store_url(redis: str | None, places: list[Place]) -> str:
    """Return the URL of the store, "" for the embedded one. Raises CannotStart if it is needed."""
    from yak_net.cluster.errors import CannotStart
    from yak_net.metadata.redis_store import EMBEDDED_NAME

    if redis is not None:
        return store_url(redis)
    for place in places:
        if place.store is not None and place.store.address != EMBEDDED_NAME:
            raise CannotStart(
                f"{place.copy.place} belongs to {place.store.address}; give its URL with --redis"
            )
    return ""


@click.command(
    "export-record", context_settings=HELP, short_help="Write a saved partition state to a file."
)
@click.argument("folder", type=FOLDER, metavar="FOLDER")
@click.argument("file", type=FILE, metavar="FILE")
def export_command(folder: Path, file: Path) -> None:
    """Write what `yak cluster recover --record` needs to a file.

    FOLDER is the data directory of the broker, which must be stopped. Do not start it before the
    recovery.
    """
    from yak_net.cluster.folders import FolderError, export_record, locked

    with exit_codes(), locked((folder,)) as folders:
        if len(folders) != 1:
            raise FolderError(
                f"{folder} has {len(folders)} data directories of brokers, expected 1"
            )
        copy = export_record(folders[0], file.absolute()).copy
    version = "none" if copy.state is None else copy.state.partition_epoch
    _say(f"wrote {file}: {copy.node}, version {version}, log end {copy.leo}")


def _say(line: str) -> None:
    click.echo(line)
