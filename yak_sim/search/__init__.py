"""Randomized searches over many seeds."""
