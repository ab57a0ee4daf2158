"""Media in buckets of object storage, by the URLs that their own tools use: ``s3://`` and ``gs://``."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tessera.errors import MediaFetchBlocked, MediaFetchFailed, MediaTooLarge
from tessera.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

SCHEMES = ("s3", "gs")

_URL = re.compile(r"(s3|gs)://([A-Za-z0-9][A-Za-z0-9._-]{1,221})(?:/(.*))?", re.DOTALL | re.IGNORECASE)
_CHUNK_BYTES = 1 << 20


class _Place(NamedTuple):
    scheme: str
    bucket: str
    key: str

    @classmethod
    def of(cls, url: str) -> _Place | None:
        found = _URL.fullmatch(url)
        return None if found is None else cls(found[1].lower(), found[2], found[3] or "")


class Buckets:
    """Reads objects of the buckets that the operator names, with the server's own access to them.

    Args:
        settings: ``media_buckets``, and limits.

    Raises:
        ValueError: ``media_buckets`` names no bucket.
    """

    def __init__(self, settings: Settings):
        listed = [part.strip() for part in settings.media_buckets.split(",")]
        self._allowed = [_Place.of(part) for part in listed if part]
        if None in self._allowed:
            raise ValueError(f"TESSERA_MEDIA_BUCKETS: not s3://bucket or gs://bucket: {settings.media_buckets}")
        self._limit = settings.media_max_bytes
        self._timeout_s = settings.media_fetch_timeout_s
        self._stores: dict[tuple[str, str], ObjectStore] = {}

    async def read(self, url: str, shown: str, make_room: Callable[[int], Awaitable[None]]) -> bytes:
        """All of an object.

        Args:
            url: ``s3://bucket/key`` or ``gs://bucket/key``; the key as it is, not percent-encoded.
            shown: what an error may say of it.
            make_room: called with the number of bytes that are about to be held.

        Raises:
            MediaFetchBlocked: not in one of the buckets.
            MediaFetchFailed: not there, or it cannot be read.
            MediaTooLarge: above ``media_max_bytes``.
        """
        # Not at the top: it takes a moment, and few need it.
        import obstore
        from obstore.exceptions import BaseError, InvalidPathError, NotFoundError

        place = _Place.of(url)
        if place is None or not self._covers(place):
            raise MediaFetchBlocked(
                f"Media URL {shown!r} leads to a bucket from which this server reads nothing: its operator names those "
                "that it may read (TESSERA_MEDIA_BUCKETS)."
            )
        try:
            result = await obstore.get_async(self._store(place), place.key)
            self._check_size(result.meta["size"])
            chunks: list[bytes] = []
            async for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
                await make_room(len(chunk))
                chunks.append(bytes(chunk))
        except (NotFoundError, FileNotFoundError, InvalidPathError) as error:
            raise MediaFetchFailed(f"Media URL {shown!r} leads to no object.") from error
        except BaseError as error:
            # What it says may hold addresses and names of the operator's.
            raise MediaFetchFailed(f"Media URL {shown!r} cannot be read: the storage refuses it or is away.") from error
        return b"".join(chunks)

    def _covers(self, place: _Place) -> bool:
        """Whether it is in a bucket, or below a prefix, that is named. A key has no way up and out of a prefix."""
        if not place.key or any(part in ("", ".", "..") for part in place.key.split("/")):
            return False
        for allowed in self._allowed:
            assert allowed is not None
            prefix = allowed.key.strip("/")
            if allowed[:2] == place[:2] and (not prefix or place.key.startswith(prefix + "/")):
                return True
        return False

    def _store(self, place: _Place) -> ObjectStore:
        from obstore.store import GCSStore, S3Store

        store = self._stores.get(place[:2])
        if store is None:
            # Without TLS only where the operator's own endpoint has none. Tried once: the request has a deadline.
            client: ClientConfig = {"timeout": timedelta(seconds=self._timeout_s), "allow_http": True}
            kind = S3Store if place.scheme == "s3" else GCSStore
            store = kind(place.bucket, client_options=client, retry_config={"max_retries": 0})
            self._stores[place[:2]] = store
        return store

    def _check_size(self, nbytes: int) -> None:
        if nbytes > self._limit:
            raise MediaTooLarge(f"The media has {nbytes} bytes; at most {self._limit} are allowed.")
