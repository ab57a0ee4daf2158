"""Idempotency keys: what a client calls a request that is to be run once, however often it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from tessera.errors import IdempotencyKeyReused
from tessera.settings import DEFAULT_TENANT

# Of a digest, in hexadecimal: no two tenants of one server share them.
TENANT_DIGITS = 32
# What the scripts return where something else was sent with the key.
_OTHER_REQUEST = -3


@dataclass(frozen=True, slots=True)
class Once:
    """A key, and what was sent with it.

    Attributes:
        name: digest of the key and of whose it is, as Redis knows it.
        digest: of the path and the body, which are to be the same each time.
        tenant: digest of whose key it is: only so many of each are remembered.
    """

    name: str
    digest: str
    tenant: str

    @classmethod
    def of(cls, key: str, path: str, body: bytes | bytearray, *, tenant: str = DEFAULT_TENANT) -> Self:
        """The key of a tenant's request. Takes a millisecond a MiB."""
        sent = sha256(path.encode() + b"\0")
        sent.update(body)
        owner = sha256(tenant.encode()).hexdigest()[:TENANT_DIGITS]
        return cls(sha256(f"{tenant}\0{key}".encode()).hexdigest(), sent.hexdigest(), owner)


def earlier(answer: int | bytes | None) -> str | None:
    """From what ``enqueue.lua`` and ``begun.lua`` return: the id of the job that began by the key, if one did.

    Raises:
        IdempotencyKeyReused: it was sent with something else.
    """
    if answer == _OTHER_REQUEST:
        raise IdempotencyKeyReused(
            "Another request was sent with this `Idempotency-Key`. Send this one with a key of its own.",
            param="Idempotency-Key",
        )
    return answer.decode() if isinstance(answer, bytes) else None
