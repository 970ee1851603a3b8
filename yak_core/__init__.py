"""The protocol as pure state machines; must never do I/O, read a clock or draw a random number.

What is listed in ``__all__`` is what lessons and variants of the protocol use; the two worlds and
the tests import the modules themselves.
"""

from yak_core.rules import Rules, advance_high_watermark
from yak_core.trace.reader import digest_of

__all__ = [
    "Rules",
    "advance_high_watermark",
    "digest_of",
]
