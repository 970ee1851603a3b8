"""Reference models of the disk and the metadata store, for worlds without real ones."""
