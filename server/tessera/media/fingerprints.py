"""What sources are known by, without hashing again what was hashed lately."""

from __future__ import annotations

from collections import OrderedDict

from tessera.media import inline
from tessera.media.source import MediaSource

_MOST_CHARS = 16 << 20


class Fingerprints:
    """Those of sources (see ``MediaSource.fingerprint``).

    Conversations come back with every image that was in them. To find out that a text is the same takes a tenth of the
    time of hashing it, so small ones are kept, of which the longest unused go first.

    Args:
        most_chars: of the texts that are kept.
    """

    def __init__(self, most_chars: int = _MOST_CHARS):
        self._most_chars = most_chars
        self._chars = 0
        # By a glance: of those that look alike, the last.
        self._seen: OrderedDict[object, tuple[MediaSource, bytes]] = OrderedDict()

    async def of(self, source: MediaSource) -> bytes:
        """That of a source that is not remote."""
        glance = source.glance()
        seen = self._seen.get(glance)
        if seen is not None and seen[0] == source:
            self._seen.move_to_end(glance)
            return seen[1]
        size = len(source.text)
        fingerprint = await inline.run(source.fingerprint, size)
        if glance is not None and size <= inline.INLINE_BYTES:
            self._keep(glance, source, fingerprint)
        return fingerprint

    def _keep(self, glance: object, source: MediaSource, fingerprint: bytes) -> None:
        self._forget(glance)
        self._seen[glance] = source, fingerprint
        self._chars += len(source.text)
        while self._chars > self._most_chars:
            self._forget(next(iter(self._seen)))

    def _forget(self, glance: object) -> None:
        if (seen := self._seen.pop(glance, None)) is not None:
            self._chars -= len(seen[0].text)
