"""Download of media URLs that strangers choose: bounded in bytes and time, and never into the operator's network."""

from __future__ import annotations

import asyncio
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import aiohttp
from yarl import URL

from tessera.errors import MediaFetchFailed, MediaFetchTimeout, MediaTooLarge
from tessera.media.address import parse_address, shorten
from tessera.media.content_coding import decompress, read_coding
from tessera.settings import Settings
from tessera.telemetry import media as metrics

_CHUNK_BYTES = 64 * 1024
_MAX_CONNECTIONS = 64
_MAX_CONNECTIONS_PER_HOST = 16
_HEADERS = {
    "User-Agent": "tessera-media",
    "Accept": "image/*, video/*, audio/*, */*;q=0.1",
    # A compressed answer could be small on the wire and huge in memory.
    "Accept-Encoding": "identity",
}
# Globally routable by the registries, and yet a cloud's own service: Azure's wire server, IETF protocol
# assignments (Oracle's metadata service).
_NEVER_PUBLIC = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))
_NAT64 = ip_network("64:ff9b::/96")
_REFUSED = "its address is not public"
_WHOLE = re.compile(r"bytes 0-([0-9]{1,18})/([0-9]{1,18})")


class Fetcher:
    """Downloads media; one session, shared by all requests.

    Args:
        settings: timeout, size limit, and whether non-public addresses are allowed.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str) -> bytes:
        """Download ``url``.

        Raises:
            InvalidMedia: not a URL that may be fetched.
            MediaFetchFailed: unreachable, refused, redirecting, or an HTTP error.
            MediaFetchTimeout: the whole body did not come in time.
            MediaTooLarge: the body is larger than ``media_max_bytes``.
        """
        target = parse_address(url)
        with metrics.fetch_seconds.time():
            try:
                body, coding = await self._download(target, shorten(url))
            except TimeoutError as error:
                limit = self._settings.media_fetch_timeout_s
                raise MediaFetchTimeout(f"Media URL {shorten(url)!r} did not answer in full in {limit:g} s.") from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise MediaFetchFailed(f"Media URL {shorten(url)!r} cannot be fetched: {_reason(error)}.") from error
        if coding is None:
            return body
        return await asyncio.to_thread(decompress, body, coding, self._settings.media_max_bytes)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _download(self, target: URL, shown: str) -> tuple[bytes, str | None]:
        """The body as it came, and the coding that it is in."""
        limit = self._settings.media_max_bytes
        async with self._open_session().get(target, allow_redirects=False) as response:
            whole_bytes = _check_answer(response, shown)
            coding = read_coding(",".join(response.headers.getall("Content-Encoding", [])))
            if (response.content_length or 0) > limit:
                raise MediaTooLarge(f"The media has {response.content_length} bytes; at most {limit} are allowed.")
            chunks, size = [], 0
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                if size > limit:
                    raise MediaTooLarge(f"The media has more than the {limit} bytes that are allowed.")
                chunks.append(chunk)
        if whole_bytes not in (None, size):
            raise MediaFetchFailed(f"Media URL {shown!r} announced {whole_bytes} bytes and sent {size}.")
        return b"".join(chunks), coding

    def _open_session(self) -> aiohttp.ClientSession:
        # Made on first use, because a session belongs to the loop that runs it.
        if self._session is None:
            private = self._settings.media_allow_private_networks
            connector = aiohttp.TCPConnector(
                limit=_MAX_CONNECTIONS,
                limit_per_host=_MAX_CONNECTIONS_PER_HOST,
                socket_factory=None if private else _public_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._settings.media_fetch_timeout_s),
                headers=_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, looking through every way to embed IPv4 in IPv6."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        embedded = _embedded(parsed)
        if embedded is not None:
            return is_public(str(embedded))
    refused = parsed.is_multicast or parsed.is_reserved or any(parsed in network for network in _NEVER_PUBLIC)
    return parsed.is_global and not refused


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _public_socket(addr_info: Any) -> socket.socket:
    """Make the socket for a connection, unless it would leave the public internet.

    Called with the very address that is connected to next, whether it was in the URL or came from DNS: a name
    that changes its mind between a check and the connection (DNS rebinding) gains nothing.
    """
    family, kind, protocol, _, address = addr_info
    if not is_public(address[0]):
        raise PermissionError(_REFUSED)
    return socket.socket(family, kind, protocol)


def _check_answer(response: aiohttp.ClientResponse, shown: str) -> int | None:
    """The number of bytes that an answer in parts announces as the whole, None where there are no parts."""
    if 300 <= response.status < 400:
        place = shorten(response.headers.get("Location", "an unnamed place"))
        message = f"Media URL {shown!r} redirects to {place!r}; redirects are not followed: send the final URL."
        raise MediaFetchFailed(message)
    if response.status == 206:
        announced = _WHOLE.fullmatch(response.headers.get("Content-Range", ""))
        if announced is None or int(announced[1]) + 1 != int(announced[2]):
            raise MediaFetchFailed(f"Media URL {shown!r} answered with only a part of it (HTTP status 206).")
        return int(announced[2])
    if response.status not in (200, 203):
        raise MediaFetchFailed(f"Media URL {shown!r} answered with HTTP status {response.status}.")
    return None


def _reason(error: BaseException) -> str:
    if _REFUSED in str(getattr(error, "os_error", error)):
        return _REFUSED
    if isinstance(error, aiohttp.ClientConnectorDNSError | UnicodeError):
        return "its host name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its TLS certificate or handshake was not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | ConnectionError):
        return "the connection broke off before the end"
    return "the answer is not valid HTTP"
