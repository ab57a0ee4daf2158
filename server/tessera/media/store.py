"""Where decoded media waits for a worker, for as long as a request holds it and while there is room."""

from __future__ import annotations

from typing import Protocol

from tessera.errors import MediaStoreFull


class MediaStore(Protocol):
    """Payloads by digest.

    A holder is whoever needs a payload, such as one request. What somebody holds stays; what nobody holds stays while
    there is room, and goes with the longest unused first.
    """

    async def put(self, digest: str, payload: bytes | memoryview, holder: str) -> bool:
        """Store a payload, if it is not there already, and hold it. Returns whether it was not.

        Raises:
            MediaStoreFull: no room, however long it waited for some.
            MediaTooLarge: larger than the whole store, alone or with what the holder holds already.
            MediaStoreUnavailable: the store cannot be reached.
        """
        ...

    async def get(self, digest: str) -> bytes | memoryview | None:
        """The payload, or None if it is not there (any more). Raises ``MediaStoreUnavailable``."""
        ...

    async def touch(self, digest: str, holder: str) -> bool:
        """Hold a payload; False if it is not there. Raises ``MediaStoreUnavailable``."""
        ...

    def release(self, holder: str) -> None:
        """End all holds of a holder, soon; nobody waits for it, and it may be repeated."""
        ...

    async def settle(self) -> None:
        """Wait until what was released is, or cannot be."""
        ...


class MemoryMediaStore:
    """The in-process fake: a dictionary that is full at ``max_bytes`` and refuses at once.

    Args:
        max_bytes: room, or None for no limit.
    """

    def __init__(self, max_bytes: int | None = None):
        self.payloads: dict[str, bytes] = {}
        self.holds: set[tuple[str, str]] = set()
        self._max_bytes = max_bytes

    async def put(self, digest: str, payload: bytes | memoryview, holder: str) -> bool:
        """See ``MediaStore``."""
        if await self.touch(digest, holder):
            return False
        self._make_room(len(payload))
        self.payloads[digest] = bytes(payload)
        self.holds.add((digest, holder))
        return True

    async def get(self, digest: str) -> bytes | memoryview | None:
        """See ``MediaStore``."""
        return self.payloads.get(digest)

    async def touch(self, digest: str, holder: str) -> bool:
        """See ``MediaStore``."""
        if digest not in self.payloads:
            return False
        self.holds.add((digest, holder))
        return True

    def release(self, holder: str) -> None:
        """See ``MediaStore``."""
        for digest in [digest for digest, other in self.holds if other == holder]:
            self.holds.remove((digest, holder))
            self.payloads[digest] = self.payloads.pop(digest)  # the last to go

    async def settle(self) -> None:
        """See ``MediaStore``."""

    def _make_room(self, nbytes: int) -> None:
        if self._max_bytes is None:
            return
        held = {digest for digest, _ in self.holds}
        missing = sum(map(len, self.payloads.values())) + nbytes - self._max_bytes
        idle = [digest for digest in self.payloads if digest not in held]
        if missing > sum(len(self.payloads[digest]) for digest in idle):
            raise MediaStoreFull("The media store is full; try again later.", retry_after_s=1)
        while missing > 0:
            missing -= len(self.payloads.pop(idle.pop(0)))
