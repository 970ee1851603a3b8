"""What can go wrong with a local cluster, as sentences for a person; must never hold state."""

from __future__ import annotations


class ClusterError(Exception):
    """Something that was asked for did not work: a sentence or two, with the next step."""


class CannotStart(ClusterError):
    """The cluster cannot be started as it was asked for, and nothing was started."""


class UnknownNode(ClusterError):
    """There is no broker of that name; the sentence names those that there are."""
