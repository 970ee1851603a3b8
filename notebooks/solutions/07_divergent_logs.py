"""Solution of lesson 7: the truncation point of KIP-279."""

from collections.abc import Callable


def truncation_point(mine: dict[int, int], ask: Callable[[int], tuple[int, int]]) -> int:
    """Return the offset from which on the follower removes its records."""
    for epoch in sorted(mine, reverse=True):
        theirs, end = ask(epoch)
        if theirs == epoch:
            return min(mine[epoch], end)
    return 0
