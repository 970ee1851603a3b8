"""Solution of lesson 5: the bounds of the window without a leader."""


def window_bounds(lease: int, renew: int, stagger: int, down: int) -> tuple[int, int]:
    """Return the shortest and the longest window in milliseconds."""
    first = lease + down * stagger
    return first - renew, first + renew + stagger // 2
