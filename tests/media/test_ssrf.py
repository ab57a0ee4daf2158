"""Every way that we know of to have a server ask its own network, directly and behind a redirect: listening sockets on
the loopback addresses must see nobody."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest
from aiohttp import web

from tessera.errors import InvalidMedia, MediaFetchFailed
from tessera.media import destinations, public_address
from tests.media.downloads import Downloads

# The one loopback address that counts as a stranger's here, so that there is somebody to redirect.
STRANGER = "127.0.0.9"
TARGETS = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "172.17.0.1", "100.100.100.200", "0.0.0.0")

# What a resolver of the attacker's, or the cluster's own, says.
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "localtest.example": ["127.0.0.1"],
    "127-0-0-1.sslip.example": ["127.0.0.1"],
    "sub.localtest.example": ["::ffff:127.0.0.1"],
    "metadata": ["169.254.169.254"],
    "metadata.google.internal": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "redis": ["10.0.0.7"],
    "host.docker.internal": ["172.17.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "sixtofour.example": ["2002:7f00:1::"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "link-local.example": ["fe80::1"],
    "unique-local.example": ["fd00:ec2::254"],
    "multicast.example": ["224.0.0.1"],
    "several.example": ["192.0.2.1", "127.0.0.1"],
    "rebinding.example": ["198.51.100.7", "::1", "127.0.0.1"],
}


def encodings(address):
    """An IPv4 address in the spellings that some C library, browser or proxy reads."""
    a, b, c, d = (int(part) for part in address.split("."))
    number = int(ipaddress.IPv4Address(address))
    yield address
    yield f"{address}."
    yield str(number)
    yield hex(number)
    yield f"0{number:o}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"{a:#x}.{b:#x}.{c:#x}.{d:#x}"
    yield f"{a:03d}.{b:03d}.{c:03d}.{d:03d}"
    yield f"{a}.{b}.{c * 256 + d}"
    yield f"{a}.{(b << 16) + (c << 8) + d}"
    yield f"{a:#x}.0{b:o}.{c}.{d}"
    yield address.replace(".", "\u3002")
    yield "".join(chr(0xFF10 + int(digit)) if digit.isdigit() else digit for digit in address)
    yield "".join(f"%{ord(letter):02x}" for letter in address)
    for v6 in (f"::ffff:{address}", f"::ffff:0:{address}", f"::{address}", f"64:ff9b::{address}"):
        yield f"[{v6}]"
    yield f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]"
    yield f"[2001:0:0:0:0:0:{(number ^ 0xFFFFFFFF) >> 16:x}:{(number ^ 0xFFFFFFFF) & 0xFFFF:x}]"


def urls(port):
    for target in TARGETS:
        for host in encodings(target):
            yield f"http://{host}:{port}/x"
    for host in (
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
        "[::1%25lo]",
        "[::1%lo]",
        "[fe80::1]",
        "[ff02::1]",
    ):
        yield f"http://{host}:{port}/x"
    for name in NAMES:
        yield f"http://{name}:{port}/x"
        yield f"http://{name.upper()}.:{port}/x"
    here = f"127.0.0.1:{port}"
    yield from (
        f"http://images.example@{here}/x",
        f"http://images.example:80@{here}/x",
        f"http://images.example%40{here}/x",
        f"http://{here}#@images.example/x",
        f"http://{here}?@images.example/x",
        f"http://{here}\\@images.example/x",
        f"http://images.example\\@{here}/x",
        f"http:\\\\{here}\\x",
        f"http:/\\{here}/x",
        f"http:///{here}/x",
        f"http:{here}/x",
        f"http:/{here}/x",
        f"//{here}/x",
        f"{here}/x",
        f"\thttp://{here}/x",
        f"ht\ntp://{here}/x",
        f"http://127.0.\t0.1:{port}/x",
        f"http://127.0.0.1\r\nHost: images.example:{port}/x",
        f"http://[127.0.0.1]:{port}/x",
        f"http://[::1]@{here}/x",
        f"http://[::1].images.example@{here}/x",
        f"http://127.0.0.1:{port}:80/x",
        f"http://127.0.0.1:+{port}/x",
        f"http://127.0.0.1: {port}/x",
        f"http://images.example:80,{here}/x",
        f"http://images.example {here}/x",
        f"http://images.example\x00.{here}/x",
        f"HTTP://{here}/x",
        f"https://{here}/x",
    )
    for scheme in (
        "file",
        "ftp",
        "gopher",
        "dict",
        "ldap",
        "sftp",
        "tftp",
        "jar",
        "unix",
        "ws",
        "http+unix",
        "javascript",
    ):
        yield f"{scheme}://{here}/x"
    yield "file:///etc/passwd"
    yield f"data:text/html,<img src=http://{here}/x>"


@pytest.fixture
async def listeners():
    """Connections that loopback addresses got."""
    seen = []

    async def accept(reader, writer):
        seen.append(writer.get_extra_info("sockname"))
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    other = await asyncio.start_server(accept, "::1", port)
    yield port, seen
    for one in (server, other):
        one.close()
        await one.wait_closed()


@pytest.fixture
async def fetcher(make_settings, monkeypatch):
    def resolve(host, port, *_, **__):
        name = (host.decode() if isinstance(host, bytes) else host).rstrip(".").lower()
        if name not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        for address in NAMES[name]:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            place = (address, port, 0, 0) if ":" in address else (address, port)
            yield family, socket.SOCK_STREAM, 6, "", place

    real = socket.getaddrinfo

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        # What the system reads as an address, in whatever spelling, it need not look up.
        try:
            return real(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        except socket.gaierror:
            return list(resolve(host, port))

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    settings = make_settings(media_allow_private_networks=False, media_allowed_ports="*", media_fetch_timeout_s=5)
    fetcher = Downloads(settings)
    yield fetcher
    await fetcher.aclose()


async def test_no_spelling_of_an_own_address_is_asked(fetcher, listeners):
    port, seen = listeners
    tried = list(urls(port))
    assert len(tried) > 200
    for url in tried:
        with pytest.raises((InvalidMedia, MediaFetchFailed)):
            await fetcher.read(url)
    assert seen == []


async def test_no_redirect_leads_to_an_own_address(fetcher, listeners, monkeypatch):
    port, seen = listeners
    is_public = public_address.is_public
    for module in (public_address, destinations):
        monkeypatch.setattr(module, "is_public", lambda address: address == STRANGER or is_public(address))
    places = [url for url in urls(port) if not set("\r\n\x00") & set(url)]

    async def redirect(request):
        return web.Response(status=302, headers={"Location": places[int(request.query["place"])]})

    runner = web.ServerRunner(web.Server(redirect))
    await runner.setup()
    await web.TCPSite(runner, STRANGER, 0).start()
    origin = f"http://{STRANGER}:{runner.addresses[0][1]}"
    for place, url in enumerate(places):
        if url.startswith((f"127.0.0.1:{port}", "http:127", "http:/1")):
            continue  # read as a path of the stranger's own
        with pytest.raises((InvalidMedia, MediaFetchFailed)):
            await fetcher.read(f"{origin}/?place={place}")
    await runner.cleanup()
    assert seen == []
