"""The replication protocol as pure state machines, without I/O, clocks or random numbers.

``__all__`` lists the names for lessons and variants of the protocol. The two worlds and the tests
import the modules directly.
"""

from yak_core.rules import Rules, advance_high_watermark
from yak_core.trace.reader import digest_of

__all__ = ["Rules", "advance_high_watermark", "digest_of"]
