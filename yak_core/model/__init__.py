"""Reference models of disk and store, for the worlds that need no real ones."""
