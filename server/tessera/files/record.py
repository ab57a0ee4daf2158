"""What is known of a file and of an upload, beside its bytes."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Self

import orjson

# Ids begin with the time of their making, so that they sort by it and a place between them needs no look-up.
_MS_DIGITS = 12
_RANDOM_BYTES = 10
_DAY_S = 86_400
_IDS = {kind: re.compile(rf"{kind}[0-9a-f]{{32}}", re.ASCII) for kind in ("file-", "upload_", "part_")}


def new_id(kind: str) -> str:
    """A fresh id: ``file-…``, ``upload_…`` or ``part_…``."""
    return f"{kind}{time.time_ns() // 1_000_000:0{_MS_DIGITS}x}{secrets.token_hex(_RANDOM_BYTES)}"


def is_id(kind: str, text: str) -> bool:
    """Whether a text is an id of that kind."""
    return _IDS[kind].fullmatch(text) is not None


def is_file_id(text: str) -> bool:
    """Whether a text is the id of a file, be it there or not."""
    return is_id("file-", text)


def place_of(name: str, most_s: int) -> str:
    """Where the bytes of a file or part go in the store: into the folder of the day after which nobody needs them.

    Args:
        name: its id.
        most_s: the longest that it may live.
    """
    return f"{day_of(time.time() + most_s + _DAY_S)}/{name}"


def day_of(time_s: float) -> str:
    """The folder of a day, such as ``2026-11-28`` (UTC)."""
    return time.strftime("%Y-%m-%d", time.gmtime(time_s))


@dataclass(frozen=True, slots=True)
class File:
    """One file.

    Attributes:
        place: where its bytes are in the store.
        sha256: of its bytes, in hexadecimal.
        created_s: Unix time, as is ``expires_s``.
        mime: what its first bytes say that it is, where that is some medium; else empty.
        modality: main modality of that; else empty.
    """

    id: str
    place: str
    nbytes: int
    sha256: str
    filename: str
    purpose: str
    created_s: int
    expires_s: int
    mime: str = ""
    modality: str = ""

    def encode(self) -> bytes:
        """As Redis has it."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """From that. Raises ``TypeError`` or ``ValueError`` where it is damaged."""
        return cls(**orjson.loads(raw))

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return time.time() >= self.expires_s


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is to come in parts.

    Attributes:
        nbytes: what it is to have in the end.
        ttl_s: how long the file is to be kept.
        mime: what the client says that it is.
        status: ``pending``, ``completing``, ``completed`` or ``cancelled``.
        file: what became of it.
    """

    id: str
    nbytes: int
    filename: str
    purpose: str
    mime: str
    created_s: int
    expires_s: int
    ttl_s: int
    status: str = "pending"
    file: File | None = None

    def encode(self) -> bytes:
        """As Redis has it, without what changes."""
        known = asdict(self)
        del known["status"], known["file"]
        return orjson.dumps(known)

    @classmethod
    def decode(cls, raw: bytes, status: str, file: bytes | None) -> Self:
        """From that. Raises ``TypeError`` or ``ValueError`` where it is damaged."""
        return cls(**orjson.loads(raw), status=status, file=File.decode(file) if file else None)
