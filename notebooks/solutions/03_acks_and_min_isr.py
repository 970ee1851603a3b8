"""Solution of lesson 3: the rule for acknowledgements with acks=all."""


def may_acknowledge(leos: dict[str, int], isr: tuple[str, ...], min_isr: int) -> int:
    """Return the offset below which the leader may acknowledge records."""
    return min(leos.values()) if len(isr) >= min_isr else 0
