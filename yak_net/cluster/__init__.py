"""A cluster of real broker processes on this machine; must never decide what a broker does."""
