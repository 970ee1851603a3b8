"""The producer and consumer nodes."""
