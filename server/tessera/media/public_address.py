"""Which addresses belong to the public internet, and sockets that connect to no others."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

# Globally routable by the registries, and yet a cloud's own service: Azure's wire server, IETF protocol
# assignments (Oracle's metadata service).
_NEVER_PUBLIC = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))
_NAT64 = ip_network("64:ff9b::/96")


NOT_PUBLIC = "its address is not public"


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, looking through every way to embed IPv4 in IPv6."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        embedded = _embedded(parsed)
        if embedded is not None:
            return is_public(str(embedded))
    refused = parsed.is_multicast or parsed.is_reserved or any(parsed in network for network in _NEVER_PUBLIC)
    return parsed.is_global and not refused


def public_socket(addr_info: Any) -> socket.socket:
    """Make the socket for a connection (``socket_factory`` of aiohttp's connector).

    Called with the very address that is connected to next, whether it was in the URL or came from DNS: a name
    that changes its mind between a check and the connection (DNS rebinding) gains nothing.

    Raises:
        PermissionError: it would leave the public internet; with ``NOT_PUBLIC``.
    """
    family, kind, protocol, _, address = addr_info
    if not is_public(address[0]):
        raise PermissionError(NOT_PUBLIC)
    return socket.socket(family, kind, protocol)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
