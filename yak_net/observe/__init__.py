"""Commands that show a running cluster: ``yak describe`` and ``yak offsets``."""
