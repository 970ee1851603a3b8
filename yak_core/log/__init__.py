"""Pure tables over a log: epochs and producers."""
