"""Solution of lesson 9: the function that continues after a crash."""


def resume(saved: int, lines: list[tuple[int, bool]]) -> tuple[int, int]:
    """Return how many lines to keep, and the position to read from."""
    position = max([saved, *(offset + 1 if last else offset for offset, last in lines)])
    return sum(offset < position for offset, _ in lines), position
