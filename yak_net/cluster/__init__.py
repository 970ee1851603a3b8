"""A local cluster of broker processes for development; never part of the replication protocol."""
