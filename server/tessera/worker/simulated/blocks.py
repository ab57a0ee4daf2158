"""The simulated KV cache: blocks that are taken, shared and given back, as in vLLM."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence


class BlockPool:
    """A number of blocks, some of which hold the beginning of prompts and are found again by their keys.

    Args:
        caching: keep what prompts have left, until the room is needed: the longest unused first.
    """

    def __init__(self, blocks: int, *, caching: bool):
        self._free = blocks
        self._caching = caching
        self._users: Counter[bytes] = Counter()
        self._idle: OrderedDict[bytes, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Blocks that can be taken."""
        return self._free + len(self._idle)

    def hold(self, prefix: Sequence[bytes], own: int) -> int | None:
        """Take the blocks of a prompt, shared with all that begin alike, and others that are of one sequence alone.

        Returns:
            How many of the prefix were there, counted from its beginning; None: there is no room, nothing was taken.
        """
        idle = sum(key in self._idle for key in prefix)
        missing = sum(key not in self._users and key not in self._idle for key in prefix)
        if missing + own > self.available - idle:
            return None
        found = 0
        for key in prefix:
            if key in self._users or key in self._idle:
                found += 1
            else:
                break
        for key in prefix:  # first, or the next loop could make room of them
            if key in self._idle:
                del self._idle[key]
                self._users[key] = 1
            elif key in self._users:
                self._users[key] += 1
            else:
                self._users[key] = 1
        for _ in range(missing + own):
            self._take()
        return found if self._caching else 0

    def grow(self) -> bool:
        """Take one more. Returns whether there was one."""
        if not self.available:
            return False
        self._take()
        return True

    def release(self, prefix: Sequence[bytes], own: int) -> None:
        """Give back what ``hold`` and ``grow`` took."""
        self._free += own
        # Ends first: a beginning without them is of use, but not the other way round.
        for key in reversed(prefix):
            self._users[key] -= 1
            if self._users[key]:
                continue
            del self._users[key]
            if self._caching:
                self._idle[key] = None
            else:
                self._free += 1

    def _take(self) -> None:
        if self._free:
            self._free -= 1
        else:
            self._idle.popitem(last=False)


class EncoderCache:
    """Media that were encoded already, by digest.

    Args:
        tokens: its room.
    """

    def __init__(self, tokens: int):
        self._room = tokens
        self._known: OrderedDict[str, int] = OrderedDict()

    def add(self, digest: str, tokens: int) -> bool:
        """Keep an item, instead of those that were not used for longest. Returns whether it has to be encoded."""
        if digest in self._known:
            self._known.move_to_end(digest)
            return False
        self._known[digest] = tokens
        self._room -= tokens
        while self._room < 0:
            _, dropped = self._known.popitem(last=False)
            self._room += dropped
        return True
