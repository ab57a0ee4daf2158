"""Takes out of libraries what only debuggers read: ``python3 strip.py FOLDER``. It needs ``strip``, of binutils.

Wheels change libraries with patchelf, and strip damages some of these, without an error. So a library is replaced only
where a process would find the same at every address of it.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

MAGIC = b"\x7fELF\x02\x01"
PAGE = 4096
# Of segments and of sections, as elf.h has them.
PT_LOAD = 1
SHF_ALLOC = 2
SHT_NOBITS, SHT_DYNSYM = 8, 11
# A symbol of .dynsym, and where in it the number of a section is, which nothing reads that loads it.
SYMBOL_BYTES, SECTION_AT = 24, 6


class Segment(NamedTuple):
    """A program header."""

    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    in_file: int
    in_memory: int
    alignment: int


class Section(NamedTuple):
    """A section header."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class Library:
    """A shared object of 64 bits."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        segments_at, sections_at = struct.unpack_from("<QQ", data, 32)
        segment_bytes, segments, section_bytes, sections = struct.unpack_from("<4H", data, 54)
        starts = range(segments_at, segments_at + segments * segment_bytes, segment_bytes)
        self.segments = [Segment._make(struct.unpack_from("<IIQQQQQQ", data, start)) for start in starts]
        starts = range(sections_at, sections_at + sections * section_bytes, section_bytes)
        self.sections = [Section._make(struct.unpack_from("<IIQQQQIIQQ", data, start)) for start in starts]

    def loads(self) -> bool:
        """Whether the system can map it."""
        return all((s.offset - s.address) % max(s.alignment, PAGE) == 0 for s in self.segments if s.kind == PT_LOAD)

    def at(self, address: int, size: int) -> bytes | None:
        """What a process would find there; None: nothing, or not all of it."""
        for s in self.segments:
            if s.kind == PT_LOAD and s.address <= address and address + size <= s.address + s.in_memory:
                start = s.offset + address - s.address
                return self._data[start : min(start + size, s.offset + s.in_file)].ljust(size, b"\0")
        return None


def alike(one: Library, other: Library) -> bool:
    """Whether a process would find in the other all that the one has."""
    if not other.loads() or _tables(one) != _tables(other):
        return False
    for section in one.sections:
        if not section.flags & SHF_ALLOC:
            continue
        found, expected = (of.at(section.address, section.size) for of in (other, one))
        if section.kind == SHT_DYNSYM:
            found, expected = _unnumbered(found), _unnumbered(expected)
        if found is None or found != expected:
            return False
    return True


def _tables(library: Library) -> list[tuple[int, ...]]:
    """What else the headers promise: where the dynamic section is, what becomes read-only, what each thread gets."""
    return sorted((s.kind, s.flags, s.address, s.in_memory) for s in library.segments if s.kind != PT_LOAD)


def _unnumbered(symbols: bytes | None) -> bytes | None:
    if symbols is None:
        return None
    cut = bytearray(symbols)
    for start in range(SECTION_AT, len(cut), SYMBOL_BYTES):
        if any(cut[start : start + 2]):
            cut[start : start + 2] = b"\xff\xff"
    return bytes(cut)


def stripped(path: Path) -> int:
    """Strip a library where that does no harm. Returns by how many bytes it is smaller.

    Raises:
        CalledProcessError: strip does not know such a file.
    """
    before = path.read_bytes()
    if not before.startswith(MAGIC):
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stripped"
        subprocess.run(["strip", "--strip-unneeded", "-o", file, path], check=True, capture_output=True)
        after = file.read_bytes()
    if len(after) >= len(before) or not alike(Library(before), Library(after)):
        return 0
    path.write_bytes(after)
    return len(before) - len(after)


if __name__ == "__main__":
    libraries = [path for path in sorted(Path(sys.argv[1]).rglob("*.so*")) if path.is_file() and not path.is_symlink()]
    saved = [stripped(path) for path in libraries]
    print(f"{sum(map(bool, saved))} of {len(libraries)} libraries stripped, of {sum(saved) / 1e6:.0f} MB")
