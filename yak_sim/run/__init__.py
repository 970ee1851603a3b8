"""Runs of scenarios: verdicts, folders, replays."""
