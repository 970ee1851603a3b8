"""Entry point of ``python -m yak_net.client.consumer``, the same as ``yak consume``."""

from yak_net.client.cli import consume

consume(prog_name="yak consume")
