"""Faster imports for the processes of YAK itself.

They skip garbage collection and the system's certificates. An application that uses YAK as a
library imports normally, because it may need the certificates.
"""

from __future__ import annotations

import gc
import importlib
import os
from typing import Final

CERT_FILE: Final = "SSL_CERT_FILE"
"""Environment variable: the file from which OpenSSL reads the trusted certificates."""


def quick_import(*modules: str) -> None:
    """Import modules without garbage collection, because imports create little garbage.

    Also skip the system's certificates, which aiohttp reads twice at import;
    :func:`yak_net.runtime.wire.certificates` reads them when a URL needs them.
    """
    before = os.environ.get(CERT_FILE)
    os.environ[CERT_FILE] = os.devnull
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()
        del os.environ[CERT_FILE]
        if before is not None:
            os.environ[CERT_FILE] = before
