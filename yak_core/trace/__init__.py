"""Traces: recorded, written, read, replayed."""
