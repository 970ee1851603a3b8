"""Scenarios of the simulated cluster, one per file, written with the public API of yak_sim."""
