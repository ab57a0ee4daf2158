"""What stands in Redis in place of a payload that is not one value there: how large it is, and where.

``lua/common.lua`` reads its beginning, and knows both sizes. No packed item begins like this (see ``item.pack``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

WHOLE_BYTES = 8 << 20
"""A payload up to this is one value."""

PART_BYTES = 4 << 20
"""Of a larger one, the size of each part but the last: to read or write one holds others up for about a millisecond."""

_FORM = re.compile(rb"TSSRSEE1 (\d{1,15}) (?:parts (\d{1,6})|object ([0-9a-f-]{1,100}))")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a payload is.

    Attributes:
        nbytes: of the payload.
        parts: number of its parts in Redis; 0: it is an object elsewhere.
        name: of that object.
    """

    nbytes: int
    parts: int = 0
    name: str = ""

    @classmethod
    def of(cls, payload: memoryview) -> Self:
        """A receipt for a payload in parts of ``PART_BYTES``."""
        return cls(len(payload), -(-len(payload) // PART_BYTES))

    def encode(self) -> bytes:
        """As stored."""
        place = f"parts {self.parts}" if self.parts else f"object {self.name}"
        return f"TSSRSEE1 {self.nbytes} {place}".encode()

    @classmethod
    def decode(cls, value: bytes) -> Self | None:
        """What was stored; None where it is a payload itself."""
        found = _FORM.fullmatch(value)
        return None if found is None else cls(int(found[1]), int(found[2] or 0), (found[3] or b"").decode())
