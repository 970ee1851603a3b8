"""Local cluster of broker processes for development. Contains no replication logic."""
