"""The contract between a node and its world."""
