"""Imports for processes that are YAK's alone, with less CPU than an import statement takes.

An application that uses YAK as a library imports as usual: what is left out here it may need.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

CERT_FILE: Final = "SSL_CERT_FILE"
"""Where OpenSSL looks for the certificates that the system trusts."""


def quick_import(*modules: str) -> None:
    """Import modules without collecting garbage, of which imports make none worth the search."""
    gc.disable()
    try:
        with _no_certificates():
            for module in modules:
                importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _no_certificates() -> Iterator[None]:
    """Spare aiohttp from reading the system's certificates, twice, when it is imported.

    They are read by :func:`yak_net.runtime.wire.certificates` when a URL needs them.
    """
    before = os.environ.get(CERT_FILE)
    os.environ[CERT_FILE] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[CERT_FILE]
        else:
            os.environ[CERT_FILE] = before
