"""Files that are only memory, by which processes hand over large data without a copy."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tessera.media.pixels import Pixels

# From then on nobody can change it: what was looked at once stays as it is.
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def create(data: bytes | None = None) -> int:
    """A descriptor of a new file, with some content; to be closed by the caller."""
    descriptor = os.memfd_create("tessera-media", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if data is not None:
        try:
            write(descriptor, data)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close it with the context; what holds the content otherwise keeps it."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write(descriptor: int, *pieces: bytes | memoryview | Pixels) -> None:
    """Write pieces one after the other, from the beginning on."""
    place = 0
    for piece in pieces:
        end = place + len(piece)
        if isinstance(piece, Pixels):
            piece.write(descriptor, place)
        else:
            view = memoryview(piece)
            while place < end:
                place += os.pwrite(descriptor, view[place - end :], place)
        place = end


def read(descriptor: int) -> bytes:
    """All of it."""
    size, parts, offset = os.fstat(descriptor).st_size, [], 0
    while offset < size:
        parts.append(os.pread(descriptor, size - offset, offset))
        offset += len(parts[-1])
    return parts[0] if len(parts) == 1 else b"".join(parts)


def sealed(descriptor: int, nbytes: int) -> memoryview:
    """The content, which nobody can change any more.

    Raises:
        ValueError: it is not ``nbytes`` long, or somebody keeps it open for changes.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        raise ValueError("the file cannot be sealed") from error
    if not nbytes or os.fstat(descriptor).st_size != nbytes:
        raise ValueError("the file has another size")
    return memoryview(mmap.mmap(descriptor, nbytes, prot=mmap.PROT_READ))
