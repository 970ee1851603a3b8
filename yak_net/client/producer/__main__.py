"""Entry point of ``python -m yak_net.client.producer``, the same as ``yak produce``."""

from yak_net.client.cli import produce

produce(prog_name="yak produce")
