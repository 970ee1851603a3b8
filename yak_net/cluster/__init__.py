"""A cluster of real broker processes on this machine."""
