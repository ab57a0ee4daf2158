"""Idempotency keys: what a client calls a request that is to be run once, however often it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from tessera.settings import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Once:
    """A key, and what was sent with it.

    Attributes:
        name: digest of the key and of whose it is, as Redis knows it.
        digest: of the path and the body, which are to be the same each time.
    """

    name: str
    digest: str

    @classmethod
    def of(cls, key: str, path: str, body: bytes | bytearray, *, tenant: str = DEFAULT_TENANT) -> Self:
        """The key of a tenant's request. Takes a millisecond a MiB."""
        sent = sha256(path.encode() + b"\0")
        sent.update(body)
        return cls(sha256(f"{tenant}\0{key}".encode()).hexdigest(), sent.hexdigest())
