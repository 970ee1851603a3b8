"""The command ``yak log``: show, verify and compare the logs in data folders, reading only."""
