"""Solution of lesson 2: the rule of the follower's high watermark."""


def follower_hw(hw: int, leader_hw: int, verified: int) -> int:
    """Return the new high watermark of a follower."""
    return max(hw, min(leader_hw, verified))
