"""The version text in the header of a trace, which identifies the code of yak_core.

A replay proves something about the recorded run only if the code is the same. A version number
identifies a release; the digest of the sources identifies every working copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

DISTRIBUTION: Final = "yak-log"
"""Name of the project in package registries; the name yak belongs to another project there."""

DIGEST_SEPARATOR: Final = "+core."
SUFFIXES: Final = (".py", ".lua")
"""Suffixes of the files that are sources of yak_core; the digest ignores all other files."""


def core_digest(sources: Iterable[tuple[str, bytes]]) -> str:
    """Return 16 hexadecimal digits of BLAKE2b over (path below the package, content) pairs.

    The pairs may be in any order. CRLF counts as LF, because a checkout can convert line ends.
    """
    sums = blake2b(digest_size=8)
    for name, content in sorted(sources):
        if name.endswith(SUFFIXES):
            text = content.replace(b"\r\n", b"\n")
            sums.update(f"{name}\n{len(text)}\n".encode())
            sums.update(text)
    return sums.hexdigest()


def files_of(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield (path below the folder, content) of each file in ``folder``."""
    for entry in folder.iterdir():
        if not entry.is_dir():
            yield f"{prefix}{entry.name}", entry.read_bytes()
        elif entry.name != "__pycache__":
            yield from files_of(entry, f"{prefix}{entry.name}/")


def version_text(package_version: str, digest: str) -> str:
    """Return the version for the header of a trace: ``0.1.0+core.`` and the digest."""
    return f"{package_version}{DIGEST_SEPARATOR}{digest}"


def digest_in(version: str) -> str:
    """Return the digest in the version of a header; empty if there is none."""
    return version.rpartition(DIGEST_SEPARATOR)[2] if DIGEST_SEPARATOR in version else ""
