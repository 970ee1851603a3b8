"""The partition state, its transitions, and the calls and scripts of its store."""
