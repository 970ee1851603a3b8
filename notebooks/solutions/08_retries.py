"""Solution of lesson 8: the rule that recognises retries."""


def handle(known: list[tuple[int, int, int]], epoch: int, first: int, last: int) -> str:
    """Return "append", "duplicate" or "refuse"."""
    newest, end = (known[-1][0], known[-1][2]) if known else (-1, -1)
    if epoch < newest:
        return "refuse"
    if epoch > newest:
        return "append" if first == 0 else "refuse"
    if last <= end:
        return "duplicate"
    return "append" if first == end + 1 else "refuse"
