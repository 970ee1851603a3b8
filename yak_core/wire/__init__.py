"""The binary codec of messages."""
