"""Runs of scenarios: loading, verdicts, run folders, replay."""
