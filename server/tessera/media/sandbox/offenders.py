"""Media that a process has died of: it gets one more chance, since the fault may have been another's."""

from __future__ import annotations

from collections import OrderedDict

from tessera.media import inline

_MOST_REMEMBERED = 4096
_MOST_DEATHS = 2


class Offenders:
    """Deaths by digest. As long as nothing has died nothing is hashed."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[bytes, int] = OrderedDict()

    async def barred(self, data: bytes) -> bool:
        """Whether it has had its chances."""
        return bool(self._deaths) and self._deaths.get(await inline.sha256(data), 0) >= _MOST_DEATHS

    async def note(self, data: bytes) -> None:
        """A process died of it."""
        digest = await inline.sha256(data)
        self._deaths[digest] = self._deaths.pop(digest, 0) + 1
        if len(self._deaths) > _MOST_REMEMBERED:
            self._deaths.popitem(last=False)
