"""``python -m yak_net.client.producer`` is ``yak produce``."""

from yak_net.client.cli import produce

produce(prog_name="yak produce")
