"""Whether a client takes what is sent to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

# Unsent bytes of a connection above which the kernel takes no more: its own limit is megabytes, which a client that
# never reads would cost, and behind which nobody sees that it does not.
_KERNEL_UNSENT_BYTES = 128 * 1024
# `tcpi_bytes_acked` of Linux' `struct tcp_info`: bytes whose arrival the client's system has confirmed.
_ACKED = struct.Struct("@Q")
_ACKED_AT = 120
# What the socket of a connection says that is closed, and about to be forgotten.
_CLOSED = (OSError, ValueError)


class Uptake:
    """Watches what waits to be sent on one connection, as often as somebody looks.

    A client makes progress with each byte that its system takes. Where the server's system does not tell, only when
    less waits than at the last look.
    """

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport
        self._socket: Any = transport.get_extra_info("socket")
        self._unsent_bytes = 0
        self._acked = -1
        self._since = 0.0
        # A client that has left already is noticed where its connection is read.
        with suppress(*_CLOSED):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_UNSENT_BYTES)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that waited at the last look."""
        return self._unsent_bytes

    def stalled_s(self, now: float) -> float:
        """Look. Returns for how long something has waited of which the client has taken nothing.

        Args:
            now: the event loop's time.
        """
        unsent_bytes = self._transport.get_write_buffer_size()
        if not (unsent_bytes or self._unsent_bytes):
            return 0.0
        acked = self._acked_bytes()
        if acked != self._acked or unsent_bytes < self._unsent_bytes or not self._unsent_bytes:
            self._since = now
        self._unsent_bytes, self._acked = unsent_bytes, acked
        return now - self._since if unsent_bytes else 0.0

    def cut(self) -> None:
        """Close at once; neither side's system keeps what waits."""
        with suppress(*_CLOSED):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _acked_bytes(self) -> int:
        if not hasattr(socket, "TCP_INFO"):
            return 0
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + _ACKED.size)
        except _CLOSED:
            return self._acked
        return int(_ACKED.unpack_from(info, _ACKED_AT)[0]) if len(info) >= _ACKED_AT + _ACKED.size else 0
