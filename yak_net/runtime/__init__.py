"""What broker and clients share: backend, links, settings, traces."""
