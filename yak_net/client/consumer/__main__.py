"""``python -m yak_net.client.consumer`` is ``yak consume``."""

from yak_net.client.cli import consume

consume(prog_name="yak consume")
