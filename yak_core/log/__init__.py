"""Tables derived from a log: the epoch index and the idempotence table."""
