"""The metadata record: its transitions, its store's calls and scripts."""
