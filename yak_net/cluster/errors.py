"""Exceptions of the local cluster; the messages are shown to the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(Exception):
    """A request to the cluster failed."""


class CannotStart(ClusterError):
    """The cluster cannot be started with these options."""


class InvalidFault(ClusterError):
    """A fault has sides that make no sense; the message says which ones do."""


class UnknownNode(ClusterError):
    """The cluster has no broker with this id."""


@contextmanager
def start_errors(what: str) -> Iterator[None]:
    """Turn an OSError in the block into CannotStart with the message ``cannot {what}: error``."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"cannot {what}: {error.strerror}") from error
