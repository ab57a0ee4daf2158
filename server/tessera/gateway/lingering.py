"""The end of a connection whose client may still be sending."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Lingering:
    """The transport as the last answer of a connection sees it.

    A connection that is closed while bytes arrive is reset, and the answer on it lost: ``close`` calls ``linger``.
    """

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], None]):
        self._transport = transport
        self.close = linger

    def write(self, data: bytes) -> None:
        """Send."""
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether it is closed already."""
        return self._transport.is_closing()
