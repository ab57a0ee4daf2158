"""Files in a directory: written beside their place, to the disk, and moved there when they are complete."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog

from tessera.files.store import BLOCK_BYTES, READ_BYTES, unavailable

log = structlog.get_logger()

_T = TypeVar("_T")

# What nothing was written to for so long has lost its gateway: a client's gaps are shorter.
ABANDONED_AFTER_S = 900.0
_INCOMING = "incoming"
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class DirectoryStore:
    """See ``FileStore``.

    Args:
        root: made where it is not there; it has to be on one file system.
    """

    room_bytes = BLOCK_BYTES

    def __init__(self, root: Path):
        self._root = root

    @asynccontextmanager
    async def create(self, name: str) -> AsyncIterator[_Sink]:
        """See ``FileStore``."""
        path = self._root / _INCOMING / name.replace("/", ".")
        file = await _run(lambda: _open(path))
        sink = _Sink(file, path, self._root / name)
        try:
            yield sink
        finally:
            if not sink.committed:
                # Also where the task is being cancelled: it is quick, and nobody else does it soon.
                _discard(file, path)

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """See ``FileStore``."""
        file: BinaryIO = await _run(lambda: (self._root / name).open("rb"))
        try:
            await _run(file.seek, start)
            while start < end:
                piece = await _run(file.read, min(READ_BYTES, end - start))
                if not piece:
                    log.error("file_cut_short", file=name, at=start)
                    raise unavailable()
                start += len(piece)
                yield piece
        finally:
            file.close()

    async def delete(self, name: str) -> None:
        """See ``FileStore``."""
        await _run(lambda: (self._root / name).unlink(missing_ok=True))

    async def sweep(self, before: str) -> int:
        """See ``FileStore``."""
        return await _run(lambda: self._sweep(before))

    def _sweep(self, before: str) -> int:
        removed = 0
        for folder in _entries(self._root):
            if _DAY.fullmatch(folder.name) and folder.name < before:
                removed += sum(1 for _ in _entries(folder))
                shutil.rmtree(folder, ignore_errors=True)
        for path in _entries(self._root / _INCOMING):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED_AFTER_S:
                    path.unlink()
                    removed += 1
        return removed


class _Sink:
    def __init__(self, file: BinaryIO, path: Path, target: Path):
        self.committed = False
        self._file = file
        self._path = path
        self._target = target

    async def write(self, block: bytes | bytearray) -> None:
        await _run(self._file.write, block)

    async def commit(self) -> None:
        await _run(self._commit)
        self.committed = True

    def _commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._target.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(self._path, self._target)
        _sync_folder(self._target.parent)


def _open(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")


def _discard(file: BinaryIO, path: Path) -> None:
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from list(folder.iterdir())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"{type(error).__name__}: {error.strerror}"
        log.error("files_store_failed", reason=reason)  # noqa: TRY400 - a full disk needs no traceback
        raise unavailable() from error


async def _run(work: Callable[..., _T], *arguments: object) -> _T:
    """Do something with the disk, in a thread."""
    with _told():
        return await asyncio.to_thread(work, *arguments)
