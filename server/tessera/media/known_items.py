"""What became of media, by what it was made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_MOST = 4096

_Known = TypeVar("_Known")


class KnownItems(Generic[_Known]):
    """Items, or all those that one source became, of which the longest unused is forgotten first.

    They are found by hashes of their sources. That a source was never seen before, a glance at it nearly always tells,
    so that what is new need not wait for its hash.

    Args:
        most: how many are remembered.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._items: OrderedDict[Hashable, _Known] = OrderedDict()
        self._glances: OrderedDict[Hashable, None] = OrderedDict()

    def get(self, key: Hashable) -> _Known | None:
        """The item of a key, which counts as a use of it."""
        item = self._items.get(key)
        if item is not None:
            self._items.move_to_end(key)
        return item

    def keep(self, key: Hashable, item: _Known, glance: Hashable = None) -> None:
        """Remember an item, and what its source looks like."""
        self._items[key] = item
        if len(self._items) > self._most:
            self._items.popitem(last=False)
        if glance is not None:
            self._glances[glance] = None
            if len(self._glances) > self._most:
                self._glances.popitem(last=False)

    def may_have(self, glance: Hashable) -> bool:
        """Whether something was made of a source that looks like this one."""
        if glance not in self._glances:
            return False
        self._glances.move_to_end(glance)
        return True
