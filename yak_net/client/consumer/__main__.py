"""Entry point of ``python -m yak_net.client.consumer``, the same as ``yak consume``."""

from yak_net.client.cli import consume
from yak_net.runtime.standard_streams import guarded

guarded(lambda: consume(prog_name="yak consume"), prints_only=True)
