"""Solution of lesson 6: the rule by which a follower follows a message."""


def follows(my_epoch: int, my_leader: str | None, epoch: int, sender: str) -> bool:
    """Return whether a follower follows a message."""
    return epoch >= my_epoch
