"""Solution of lesson 4: the rule that lets a follower join the ISR."""


def may_join(match: int, hw: int, epoch_start: int, leo: int) -> bool:
    """Return whether a follower may join the ISR."""
    return match >= hw and match >= epoch_start
