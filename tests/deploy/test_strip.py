"""Libraries of an image are what they were, without what debuggers read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import uvloop

from deploy.docker.strip import PT_LOAD, SHF_ALLOC, SHT_NOBITS, Library, alike, stripped

UVLOOP = Path(uvloop.__file__).parent
# patchelf has been at it several times.
(BLAS,) = (Path(numpy.__file__).parents[1] / "numpy.libs").glob("libscipy_openblas*")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    shutil.copytree(UVLOOP, tmp_path / "uvloop")
    return tmp_path


def loop(package: Path) -> Path:
    (found,) = (package / "uvloop").glob("loop.*.so")
    return found


def test_a_stripped_library_is_a_part_of_its_size_and_works(package: Path):
    path = loop(package)
    size = path.stat().st_size
    saved = stripped(path)
    assert path.stat().st_size == size - saved < size / 4
    script = "import uvloop; print(uvloop.__file__, uvloop.run(__import__('asyncio').sleep(0, 'done')))"
    ran = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(package)}, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.split() == [str(package / "uvloop" / "__init__.py"), "done"], ran.stderr


def test_a_library_that_strip_damages_stays_as_it_is(tmp_path: Path):
    path = Path(shutil.copy(BLAS, tmp_path))
    damaged = tmp_path / "damaged"
    subprocess.run(["strip", "--strip-unneeded", "-o", damaged, path], check=True, timeout=60, capture_output=True)
    assert not Library(damaged.read_bytes()).loads()
    assert stripped(path) == 0
    assert path.read_bytes() == BLAS.read_bytes()


def test_what_is_no_library_stays_as_it_is(tmp_path: Path):
    path = tmp_path / "script.so"
    path.write_text("GROUP ( libc.so.6 )")
    assert stripped(path) == 0


@pytest.mark.parametrize("of", [".text", ".dynsym", ".data"])
def test_one_changed_byte_is_seen(package: Path, of: str):
    data = loop(package).read_bytes()
    library = Library(data)
    names = library.sections[int.from_bytes(data[62:64], "little")].offset
    (section,) = [
        s for s in library.sections if data[names + s.name :].partition(b"\0")[0].decode("ascii", "ignore") == of
    ]
    assert section.flags & SHF_ALLOC
    assert section.kind != SHT_NOBITS
    changed = bytearray(data)
    changed[section.offset + section.size - 8] ^= 1
    assert alike(library, Library(data))
    assert not alike(library, Library(bytes(changed)))


def test_a_segment_that_cannot_be_mapped_is_seen(package: Path):
    data = bytearray(loop(package).read_bytes())
    library = Library(bytes(data))
    start = int.from_bytes(data[32:40], "little") + library.segments.index(
        next(s for s in library.segments if s.kind == PT_LOAD and s.offset)
    ) * int.from_bytes(data[54:56], "little")
    data[start + 8] += 8
    assert not Library(bytes(data)).loads()
