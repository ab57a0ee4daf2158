"""API keys, and the tenants that they belong to: one in a setting, or many in a file that is read as it changes."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import structlog

from tessera.settings import DEFAULT_TENANT, Settings

log = structlog.get_logger()

# A change of the file is noticed within that.
LOOK_EVERY_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_KEY = re.compile(r"[!-~]{1,512}", re.ASCII)
_Stamp = tuple[int, int, int]


class KeysUnreadable(Exception):
    """The keys that the settings name cannot be read; the message says where and why, without any of the keys."""


class KeyRing:
    """The keys that are valid now.

    Only digests are kept, made with a secret of this process: how long a comparison takes tells nothing of a key.

    Args:
        settings: ``api_key``, of the tenant ``default``, and ``api_keys_file``.

    Raises:
        KeysUnreadable: the file is not there or damaged.
    """

    def __init__(self, settings: Settings):
        self._path = settings.api_keys_file
        self._secret = secrets.token_bytes(32)
        self._own = {self._digest(key.encode()): name for name, key in _own(settings)}
        self._of_file: dict[bytes, str] = {}
        self._stamp: _Stamp | None = None
        self._look_at = 0.0
        self._told = False
        # Also where its file is empty: whoever takes the last key away does not open the server to all.
        self.required = bool(self._own) or self._path is not None
        if self._path is not None:
            self._read(self._path)

    def tenant_of(self, key: bytes) -> str | None:
        """The name of the tenant whose key it is; None: it is nobody's."""
        if self._path is not None and time.monotonic() >= self._look_at:
            self._refresh(self._path)
        digest = self._digest(key)
        found = None
        for keys in (self._own, self._of_file):
            found = keys.get(digest) or found
        return found

    def _digest(self, key: bytes) -> bytes:
        return blake2b(key, key=self._secret, digest_size=32).digest()

    def _refresh(self, path: Path) -> None:
        try:
            if _stamp(path) != self._stamp:
                self._read(path)
                log.info("api_keys_read", file=str(path), keys=len(self._of_file))
            self._told = False
        except (OSError, KeysUnreadable) as error:
            # Those that were there stay valid: a file that is being written must not shut everybody out.
            if not self._told:
                reason = str(error) if isinstance(error, KeysUnreadable) else type(error).__name__
                log.error("api_keys_unreadable", file=str(path), reason=reason)  # noqa: TRY400
            self._told = True
        self._look_at = time.monotonic() + LOOK_EVERY_S

    def _read(self, path: Path) -> None:
        try:
            # Before it is read: what changes meanwhile is read once more.
            stamp = _stamp(path)
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysUnreadable(f"TESSERA_API_KEYS_FILE: {path} cannot be read ({type(error).__name__}).") from error
        found: dict[bytes, str] = {}
        for number, name, key in _entries(lines, path):
            digest = self._digest(key.encode())
            earlier = found.get(digest) or self._own.get(digest) or name
            if earlier != name:
                raise KeysUnreadable(f"TESSERA_API_KEYS_FILE: the key in line {number} of {path} is another tenant's.")
            found[digest] = name
        self._of_file, self._stamp = found, stamp


def first_key(settings: Settings) -> str | None:
    """A key that is valid, for a client that the operator starts; None: none is needed.

    Raises:
        KeysUnreadable: as ``KeyRing`` does.
    """
    KeyRing(settings)
    if settings.api_key or settings.api_keys_file is None:
        return settings.api_key or None
    path = settings.api_keys_file
    return next((key for _, _, key in _entries(path.read_text(encoding="ascii").splitlines(), path)), None)


def _own(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.api_key:
        if not _KEY.fullmatch(settings.api_key):
            raise KeysUnreadable("TESSERA_API_KEY must be 1 to 512 visible ASCII characters without spaces.")
        yield DEFAULT_TENANT, settings.api_key


def _entries(lines: list[str], path: Path) -> Iterator[tuple[int, str, str]]:
    """Number, tenant and key of each line; empty ones and those that begin with # are left out."""
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not _NAME.fullmatch(words[0]) or not _KEY.fullmatch(words[1]):
            raise KeysUnreadable(
                f"TESSERA_API_KEYS_FILE: line {number} of {path} is not a name (letters, digits, `._-`, at most 64) "
                "and a key (visible ASCII characters), with a space between them."
            )
        yield number, words[0], words[1]


def _stamp(path: Path) -> _Stamp:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_size
