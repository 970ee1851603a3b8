"""Traces of runs: recording, file format, and replay."""
