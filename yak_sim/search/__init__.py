"""Searches over many seeds."""
