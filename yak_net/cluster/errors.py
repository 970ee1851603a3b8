"""What goes wrong with a local cluster, as sentences for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(Exception):
    """A request to the cluster failed; the message is a sentence for a person."""


class CannotStart(ClusterError):
    """The cluster cannot be started with these options."""


class UnknownNode(ClusterError):
    """There is no broker of this name."""


@contextmanager
def must(what: str) -> Iterator[None]:
    """Raise CannotStart, ``cannot {what}``, for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"cannot {what}: {error.strerror}") from error
