"""A simulated cluster as scripts see it."""
