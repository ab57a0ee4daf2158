"""Download of media URLs that strangers choose: bounded in bytes and time, and never into the operator's network."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from tessera.errors import MediaFetchBlocked, MediaFetchFailed, MediaFetchTimeout, MediaTooLarge
from tessera.media.address import parse_address, shorten
from tessera.media.buckets import SCHEMES, Buckets
from tessera.media.budget import ByteBudget, Share
from tessera.media.content_coding import decompress, read_coding
from tessera.media.destinations import Destinations
from tessera.media.flights import Flights
from tessera.media.item import Modality
from tessera.media.public_address import NOT_PUBLIC, public_socket
from tessera.media.site_headers import SiteHeaders
from tessera.settings import Settings
from tessera.telemetry import media as metrics

_CHUNK_BYTES = 64 * 1024
# A host that is slow can take its own share and no more.
_MAX_CONNECTIONS = 256
_MAX_CONNECTIONS_PER_HOST = 16
_HEADERS = {
    "User-Agent": "tessera-media",
    "Accept": "image/*, video/*, audio/*, */*;q=0.1",
    # A compressed answer could be small on the wire and huge in memory.
    "Accept-Encoding": "identity",
}
_REDIRECTS = (301, 302, 303, 307, 308)
_COMPLETE = re.compile(r"https?://", re.IGNORECASE)
_WHOLE = re.compile(r"bytes 0-([0-9]{1,18})/([0-9]{1,18})")


class Download:
    """One download: what it holds, and the time that it has."""

    def __init__(self, share: Share, clock: asyncio.Timeout):
        self._share = share
        self._clock = clock

    async def make_room(self, nbytes: int) -> None:
        """Hold so many bytes more. What that takes is not the fault of whoever sends them, and costs no time of it."""
        if self._share.grow(nbytes):
            return
        now = asyncio.get_running_loop().time
        left_s = (self._clock.when() or now()) - now()
        self._clock.reschedule(None)
        await self._share.wait(nbytes)
        self._clock.reschedule(now() + left_s)


class Fetcher:
    """Downloads media; one session, shared by all requests.

    Args:
        settings: limits, and where media may come from.
        budget: of what is downloaded, until whoever asked for it has used it.
    """

    def __init__(self, settings: Settings, budget: ByteBudget):
        self._settings = settings
        self._budget = budget
        self._destinations = Destinations(settings)
        self._buckets = Buckets(settings)
        self._site_headers = SiteHeaders(settings.media_headers_file)
        self._flights: Flights[bytes] = Flights()
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def fetch(self, url: str, modality: Modality) -> AsyncIterator[bytes]:
        """Download ``url``; the same URL is downloaded once for all who ask for it meanwhile.

        Args:
            url: where it is.
            modality: what it is said to be, for the metrics.

        Raises:
            InvalidMedia: not a URL that may be fetched.
            MediaFetchBlocked: it, or where it redirects to, is a place that this server does not ask.
            MediaFetchFailed: unreachable, an HTTP error, or too many redirects.
            MediaFetchTimeout: the whole body did not come in time.
            MediaTooLarge: the body is larger than ``media_max_bytes``.
            MediaMemoryFull: no room for it in memory, also after waiting for some.
        """
        async with self._flights.join(url, partial(self._fetch, url, modality)) as body:
            yield body

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _fetch(self, url: str, modality: Modality, held: ExitStack) -> bytes:
        shown, limit_s = shorten(url), self._settings.media_fetch_timeout_s
        share = held.enter_context(self._budget.open())
        with metrics.fetch_seconds.labels(modality.value).time():
            try:
                async with asyncio.timeout(limit_s) as clock:
                    download = Download(share, clock)
                    if url.partition("://")[0].lower() in SCHEMES:
                        return await self._read_object(url, shown, download)
                    body, coding = await self._follow(url, shown, download)
            except TimeoutError as error:
                raise MediaFetchTimeout(f"Media URL {shown!r} did not answer in full in {limit_s:g} s.") from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _failure(error, shown) from error
        if coding is None:
            return body
        limit = self._settings.media_max_bytes
        if not share.grow(limit):
            await share.wait(limit)
        body = await asyncio.to_thread(decompress, body, coding, limit)
        share.shrink(len(body))
        return body

    async def _read_object(self, url: str, shown: str, download: Download) -> bytes:
        began = time.monotonic()
        try:
            return await self._buckets.read(url, shown, download.make_room)
        finally:
            metrics.hosts.add("/".join(url.split("/", 3)[:3]), time.monotonic() - began)

    async def _follow(self, url: str, shown: str, download: Download) -> tuple[bytes, str | None]:
        """The body as it came, and the coding that it is in, from wherever the URL leads in the end."""
        most = self._settings.media_max_redirects
        for _ in range(most + 1):
            target = parse_address(url)
            self._destinations.check(target, shorten(url))
            began = time.monotonic()
            try:
                answer = await self._ask(target, shown, download)
            finally:
                metrics.hosts.add(target.raw_host or "", time.monotonic() - began)
            if isinstance(answer, tuple):
                return answer
            # As it stands where it is complete: it may be signed.
            url = answer if _COMPLETE.match(answer) else urljoin(str(target), answer)
        raise MediaFetchFailed(f"Media URL {shown!r} redirects more than {most} times: send the final URL.")

    async def _ask(self, target: URL, shown: str, download: Download) -> tuple[bytes, str | None] | str:
        """The body and its coding, or where it is instead."""
        limit = self._settings.media_max_bytes
        request = self._open_session().get(
            target,
            allow_redirects=False,
            headers=self._site_headers.of(target.raw_host or ""),
            proxy=self._settings.media_proxy or None,
        )
        async with request as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                return response.headers["Location"]
            whole_bytes = _check_answer(response, shown)
            coding = read_coding(",".join(response.headers.getall("Content-Encoding", [])))
            if (response.content_length or 0) > limit:
                raise MediaTooLarge(f"The media has {response.content_length} bytes; at most {limit} are allowed.")
            chunks, size = [], 0
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                if size > limit:
                    raise MediaTooLarge(f"The media has more than the {limit} bytes that are allowed.")
                await download.make_room(len(chunk))
                chunks.append(chunk)
        if whole_bytes not in (None, size):
            raise MediaFetchFailed(f"Media URL {shown!r} announced {whole_bytes} bytes and sent {size}.")
        return b"".join(chunks), coding

    def _open_session(self) -> aiohttp.ClientSession:
        # Made on first use, because a session belongs to the loop that runs it.
        if self._session is None:
            # A proxy is the operator's own; it is what connects to strangers.
            anywhere = self._settings.media_allow_private_networks or self._settings.media_proxy
            connector = aiohttp.TCPConnector(
                limit=_MAX_CONNECTIONS,
                limit_per_host=_MAX_CONNECTIONS_PER_HOST,
                socket_factory=None if anywhere else public_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # all of it has one, in `_fetch`
                headers=_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _check_answer(response: aiohttp.ClientResponse, shown: str) -> int | None:
    """The number of bytes that an answer in parts announces as the whole, None where there are no parts."""
    if response.status == 206:
        announced = _WHOLE.fullmatch(response.headers.get("Content-Range", ""))
        if announced is None or int(announced[1]) + 1 != int(announced[2]):
            raise MediaFetchFailed(f"Media URL {shown!r} answered with only a part of it (HTTP status 206).")
        return int(announced[2])
    if response.status not in (200, 203):
        raise MediaFetchFailed(f"Media URL {shown!r} answered with HTTP status {response.status}.")
    return None


def _failure(error: Exception, shown: str) -> MediaFetchFailed:
    # In its text, since a host with several addresses fails with an error made of several.
    if NOT_PUBLIC in str(getattr(error, "os_error", error)):
        return MediaFetchBlocked(f"Media URL {shown!r} cannot be fetched: {NOT_PUBLIC}.")
    return MediaFetchFailed(f"Media URL {shown!r} cannot be fetched: {_reason(error)}.")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError | UnicodeError):
        return "its host name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its TLS certificate or handshake was not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | ConnectionError):
        return "the connection broke off before the end"
    return "the answer is not valid HTTP"
