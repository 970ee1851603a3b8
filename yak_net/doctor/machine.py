"""Checks of this machine: the port of a broker, its data folder, the disk, the open files."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Final

from yak_net.doctor.results import Check, Result, SetUp, Severity
from yak_net.http.connections import DESCRIPTORS_MIN
from yak_net.log_files.reading import holder_of, is_folder
from yak_net.runtime.connection_errors import listen_error
from yak_net.storage.folder import LOCK, read_identity
from yak_net.storage.system import FULL, StorageError, descriptor_limit, sync_data

PROBE_BYTES: Final = 1 << 20
"""Bytes that are written to a disk to see whether it takes them, and removed at once."""
FREE_ERROR: Final = 64 << 20
FREE_WARNING: Final = 1 << 30
SLOW_FLUSH_S: Final = 0.5
MIB: Final = 1 << 20


def check_port(host: str, port: int) -> Result:
    """Check that a broker could listen on an address."""
    subject = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # As a listener does it: a port whose connections are only closing is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
    except OSError as error:
        problem, _, advice = listen_error(error, host, port).partition("; ")
        if error.errno == errno.EADDRINUSE:
            advice += f"; ss -ltnp 'sport = :{port}' shows the process"
        return Result(Check.PORT, Severity.ERROR, subject, problem, advice)
    return Result(Check.PORT, Severity.OK, subject, "is free")


def check_open_files() -> Result:
    """Check the limit of open files of this process, which a broker inherits."""
    limit = descriptor_limit()
    if limit < DESCRIPTORS_MIN:
        return Result(
            Check.FILES, Severity.ERROR, "this shell",
            f"the limit of open files is {limit}, a broker needs {DESCRIPTORS_MIN}",
            f"raise it, for example with ulimit -n {DESCRIPTORS_MIN}",
        )  # fmt: skip
    return Result(Check.FILES, Severity.OK, "this shell", f"the limit of open files is {limit}")


def data_folders(folders: tuple[Path, ...]) -> list[Path]:
    """Return the data folders of brokers among and in ``folders``."""
    found: list[Path] = []
    for folder in folders:
        inside = [each.parent for each in sorted(folder.glob("*/identity.json"))]
        found += [folder] if is_folder(folder) else inside
    return found


def check_data(folder: Path, set_up: SetUp, *, runs: bool) -> Result:
    """Check that a data folder is of this broker and this cluster, and whether it is in use.

    ``runs`` says that brokers are expected to use it.
    """
    subject = str(folder)
    try:
        identity = read_identity(folder)
        holder = holder_of(folder / LOCK)
    except (StorageError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Result(
            Check.DATA, Severity.ERROR, subject, f"cannot read the data folder: {reason}",
            "give the broker the right to read and write it, or choose another --data-dir",
        )  # fmt: skip
    if set_up.cluster and identity.cluster and identity.cluster != set_up.cluster:
        return Result(
            Check.CLUSTER_NAME, Severity.ERROR, subject,
            f"belongs to cluster {identity.cluster}, expected {set_up.cluster}",
            "correct --cluster (YAK_CLUSTER) or --data-dir (YAK_DATA_DIR)",
        )  # fmt: skip
    if set_up.node and identity.node != set_up.node:
        return Result(
            Check.DATA, Severity.ERROR, subject,
            f"is the data folder of {identity.node}, expected {set_up.node}",
            "correct --node-id (YAK_NODE_ID) or --data-dir (YAK_DATA_DIR)",
        )  # fmt: skip
    if holder is not None and not runs:
        return Result(
            Check.DATA, Severity.NOTE, subject, f"is in use by process {holder or '(unknown)'}",
            "stop that process before another broker starts on this folder",
        )  # fmt: skip
    known = f"broker {identity.node} of cluster {identity.cluster or '(none yet)'}"
    return Result(Check.DATA, Severity.OK, subject, known)


def check_disk(folder: Path) -> Result:
    """Check that the disk of a folder takes and flushes bytes; what is written is removed.

    A disk quota and a read-only file system are found by writing, not by the free space. If the
    folder does not exist yet, the disk is that of the nearest folder above it.
    """
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    subject = str(folder)
    try:
        free = _free_bytes(place)
        took_s = _probe(place)
    except OSError as error:
        if error.errno in FULL:
            return Result(
                Check.DISK, Severity.ERROR, subject,
                f"the disk is full: {PROBE_BYTES} bytes could not be written",
                "free space on this disk, or raise the quota; a broker on a full disk halts, and "
                "continues after a restart",
            )  # fmt: skip
        return Result(
            Check.DISK, Severity.ERROR, subject,
            f"cannot write to {place}: {(error.strerror or str(error)).lower()}",
            "make the folder writable for the user of the broker, or choose another --data-dir",
        )  # fmt: skip
    if free < FREE_WARNING:
        return Result(
            Check.DISK, Severity.ERROR if free < FREE_ERROR else Severity.WARNING, subject,
            f"the disk has {free // MIB} MiB left",
            "free space on this disk before it is full; a broker on a full disk halts",
        )  # fmt: skip
    if took_s > SLOW_FLUSH_S:
        return Result(
            Check.DISK, Severity.WARNING, subject,
            f"a flush of {PROBE_BYTES // MIB} MiB took {took_s:.1f} s",
            "use a faster disk, or find what loads this one; acknowledgements wait for flushes",
        )  # fmt: skip
    return Result(
        Check.DISK, Severity.OK, subject,
        f"{free // MIB} MiB free, a flush took {took_s * 1000:.0f} ms",
    )  # fmt: skip


def _free_bytes(folder: Path) -> int:
    """Return the bytes that a user without privileges can write."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _probe(folder: Path) -> float:
    """Write and flush PROBE_BYTES in a file without a name; return the seconds it took."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        rest = memoryview(os.urandom(PROBE_BYTES))
        began = time.monotonic()
        while rest:
            rest = rest[file.write(rest) or 0 :]
        sync_data(file.fileno())
        return time.monotonic() - began
