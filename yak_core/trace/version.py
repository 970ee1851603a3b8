"""Which core wrote a trace, as a text in the trace's header.

Replaying a trace proves something about the code that recorded it only if the code is the same. A
version number says that of releases; the digest of the sources says it of every working copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

MARK: Final = "+core."
SUFFIXES: Final = (".py", ".lua")
"""What counts as a source of the core; whatever else lies around does not."""


def core_digest(sources: Iterable[tuple[str, bytes]]) -> str:
    """16 hexadecimal digits of BLAKE2b over (path below the package, content), in any order.

    Line ends do not count, because some ways to get the sources change them.
    """
    sums = blake2b(digest_size=8)
    for name, content in sorted(sources):
        if name.endswith(SUFFIXES):
            text = content.replace(b"\r\n", b"\n")
            sums.update(f"{name}\n{len(text)}\n".encode())
            sums.update(text)
    return sums.hexdigest()


def files_of(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield (path below the folder, content) of each file; each world names the folder."""
    for entry in folder.iterdir():
        if not entry.is_dir():
            yield f"{prefix}{entry.name}", entry.read_bytes()
        elif entry.name != "__pycache__":
            yield from files_of(entry, f"{prefix}{entry.name}/")


def version_text(package_version: str, digest: str) -> str:
    """What the header of a trace says, such as ``0.1.0+core.`` and the digest."""
    return f"{package_version}{MARK}{digest}"


def digest_in(version: str) -> str:
    """The digest of the core in the version of a header; empty when there is none."""
    return version.rpartition(MARK)[2] if MARK in version else ""
