"""Entry point of ``python -m yak_net.client.producer``, the same as ``yak produce``."""

from yak_net.client.cli import produce
from yak_net.runtime.standard_streams import guarded

guarded(lambda: produce(prog_name="yak produce"))
