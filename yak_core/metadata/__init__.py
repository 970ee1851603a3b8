"""The metadata record, its transitions, and the calls and scripts of its store."""
