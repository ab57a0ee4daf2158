from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web

from tessera.errors import InvalidMedia, MediaFetchFailed, MediaFetchTimeout, MediaTooLarge
from tessera.media.fetch import Fetcher, is_public


@pytest.fixture
async def fetcher(settings):
    fetcher = Fetcher(settings)
    yield fetcher
    await fetcher.aclose()


async def test_the_body_comes_back(fetcher, web_server):
    url = web_server.serve("/a.png", b"x" * 200_000)
    assert await fetcher.fetch(url) == b"x" * 200_000


async def test_nothing_of_ours_is_sent(fetcher, web_server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    url = web_server.serve("/a", b"x", headers={"Set-Cookie": "a=b"})
    for _ in range(2):
        await fetcher.fetch(url)
    for request in web_server.requests:
        assert not {"Cookie", "Authorization", "Referer"} & set(request.headers)
        assert request.headers["Accept-Encoding"] == "identity"


async def test_the_size_limit_is_exact(web_server, make_settings):
    fetcher = Fetcher(make_settings(media_max_bytes=1000))
    assert len(await fetcher.fetch(web_server.serve("/ok", bytes(1000)))) == 1000
    with pytest.raises(MediaTooLarge, match="1001 bytes; at most 1000"):
        await fetcher.fetch(web_server.serve("/big", bytes(1001)))
    await fetcher.aclose()


async def test_a_body_that_never_ends_is_cut_off(web_server, make_settings):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while not web_server.stopping.is_set():
            await response.write(bytes(10_000))
        return response

    web_server.handlers["/endless"] = endless
    fetcher = Fetcher(make_settings(media_max_bytes=100_000))
    with pytest.raises(MediaTooLarge):
        await fetcher.fetch(web_server.url + "/endless")
    await fetcher.aclose()


async def test_a_slow_body_times_out(web_server, make_settings):
    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await web_server.stopping.wait()
        return response

    web_server.handlers["/slow"] = slow
    fetcher = Fetcher(make_settings(media_fetch_timeout_s=0.2))
    with pytest.raises(MediaFetchTimeout, match=r"0\.2 s"):
        await fetcher.fetch(web_server.url + "/slow")
    await fetcher.aclose()


@pytest.fixture
async def raw_server():
    """Answers every connection with ``answer``, byte for byte, and closes it."""
    answer = bytearray()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes(answer))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/x", answer
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
        b"garbage\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_broken_answers_are_fetch_failures(fetcher, raw_server, raw):
    url, answer = raw_server
    answer.extend(raw)
    with pytest.raises(MediaFetchFailed):
        await fetcher.fetch(url)


async def test_a_lying_content_length_is_refused_before_the_body(fetcher, raw_server):
    url, answer = raw_server
    answer.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx")
    with pytest.raises(MediaTooLarge, match="99999999999"):
        await fetcher.fetch(url)


async def test_errors_and_redirects_say_what_happened(fetcher, web_server):
    with pytest.raises(MediaFetchFailed, match="HTTP status 404"):
        await fetcher.fetch(web_server.url + "/none")
    url = web_server.serve("/moved", b"", status=302, headers={"Location": "http://169.254.169.254/secret"})
    with pytest.raises(MediaFetchFailed, match=r"redirects to 'http://169\.254\.169\.254/secret'"):
        await fetcher.fetch(url)


async def test_unreachable_and_unknown_hosts(fetcher):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(MediaFetchFailed, match="no connection"):
            await fetcher.fetch(f"http://127.0.0.1:{port}/")
    with pytest.raises(MediaFetchFailed):
        await fetcher.fetch("http://does-not-exist.invalid/")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "https://user:pw@example.com/",
        "http://u@example.com/",
        "http://[::1",
        "http://a:99999/",
        "ftp://x/",
    ],
)
async def test_urls_that_may_not_be_fetched(fetcher, url):
    with pytest.raises(InvalidMedia):
        await fetcher.fetch(url)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]"],
)
async def test_the_own_network_is_out_of_reach(web_server, make_settings, host):
    fetcher = Fetcher(make_settings(media_allow_private_networks=False))
    port = web_server.url.rpartition(":")[2]
    with pytest.raises(MediaFetchFailed):
        await fetcher.fetch(f"http://{host}:{port}/a")
    assert web_server.requests == []
    await fetcher.aclose()


async def test_a_refused_address_is_named_as_the_reason(web_server, make_settings):
    fetcher = Fetcher(make_settings(media_allow_private_networks=False))
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(MediaFetchFailed, match="not public"):
            await fetcher.fetch(web_server.url.replace("127.0.0.1", host))
    await fetcher.aclose()


@pytest.mark.parametrize(
    "address",
    [
        *(
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "0.0.0.0",
        ),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.192", "168.63.129.16", "198.18.0.1"),
        *(
            "::",
            "::1",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
        ),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:0:0:0:0:80ff:fffe"),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address):
    assert is_public(address)


async def test_a_cancelled_download_lets_its_connection_go(web_server, fetcher, wait_for):
    async def hang(request):
        await web_server.stopping.wait()
        return web.Response()

    web_server.handlers["/hang"] = hang
    url = web_server.serve("/ok", b"fine")
    tasks = [asyncio.create_task(fetcher.fetch(web_server.url + "/hang")) for _ in range(40)]
    async with asyncio.timeout(10):
        await wait_for(lambda: len(web_server.requests) >= 16)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await fetcher.fetch(url) == b"fine"
