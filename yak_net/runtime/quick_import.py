"""Imports for processes that are YAK's alone, with less CPU than an import statement takes.

An application that uses YAK as a library imports as usual: what is left out here it may need.
"""

from __future__ import annotations

import gc
import importlib
import os
from typing import Final

CERT_FILE: Final = "SSL_CERT_FILE"
"""Where OpenSSL looks for the certificates that the system trusts."""


def quick_import(*modules: str) -> None:
    """Import modules without collecting garbage, of which imports make none worth the search.

    And without the certificates of the system, which aiohttp reads, twice, when it is imported;
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
