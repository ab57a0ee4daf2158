from __future__ import annotations

import asyncio
import gzip
import socket
import zlib

import pytest
from aiohttp import web

from tessera.errors import InvalidMedia, MediaFetchFailed, MediaFetchTimeout, MediaMemoryFull, MediaTooLarge
from tessera.media import Modality
from tests.media.downloads import Downloads


@pytest.fixture
async def fetcher(settings):
    fetcher = Downloads(settings)
    yield fetcher
    await fetcher.aclose()


async def test_the_body_comes_back(fetcher, web_server):
    url = web_server.serve("/a.png", b"x" * 200_000)
    assert await fetcher.read(url) == b"x" * 200_000


async def test_nothing_of_ours_is_sent(fetcher, web_server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    url = web_server.serve("/a", b"x", headers={"Set-Cookie": "a=b"})
    for _ in range(2):
        await fetcher.read(url)
    for request in web_server.requests:
        assert not {"Cookie", "Authorization", "Referer"} & set(request.headers)
        assert request.headers["Accept-Encoding"] == "identity"


async def test_the_size_limit_is_exact(web_server, make_settings):
    fetcher = Downloads(make_settings(media_max_bytes=1000))
    assert len(await fetcher.read(web_server.serve("/ok", bytes(1000)))) == 1000
    with pytest.raises(MediaTooLarge, match="1001 bytes; at most 1000"):
        await fetcher.read(web_server.serve("/big", bytes(1001)))
    await fetcher.aclose()


async def test_a_body_that_never_ends_is_cut_off(web_server, make_settings):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while not web_server.stopping.is_set():
            await response.write(bytes(10_000))
        return response

    web_server.handlers["/endless"] = endless
    fetcher = Downloads(make_settings(media_max_bytes=100_000))
    with pytest.raises(MediaTooLarge):
        await fetcher.read(web_server.url + "/endless")
    await fetcher.aclose()


async def test_a_slow_body_times_out(web_server, make_settings):
    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await web_server.stopping.wait()
        return response

    web_server.handlers["/slow"] = slow
    fetcher = Downloads(make_settings(media_fetch_timeout_s=0.2))
    with pytest.raises(MediaFetchTimeout, match=r"0\.2 s"):
        await fetcher.read(web_server.url + "/slow")
    await fetcher.aclose()


class RawServer:
    """Answers every connection with ``answer``, byte for byte, and closes it; remembers what it was sent."""

    def __init__(self):
        self.answer = bytearray()
        self.heads: list[bytes] = []
        self.origin = ""

    async def serve(self, reader, writer):
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(bytes(self.answer))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def raw_server():
    raw = RawServer()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.origin = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield raw
    server.close()
    await server.wait_closed()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        *(
            (same, same)
            for same in (
                "/a%40b%27c%7Ed%2Fe%3a.png",
                "/a@b'c~d!$&()*+,;=:.png",
                "/a?X-Amz-Credential=A%2F20260101%2Fus&X-Amz-Date=%3A&sig=a%2Bb+c%20d",
                "/a/../b/./c//d/..",
                "/../../etc",
                "/%",
                "/%zz%e4%C3",
                '/"<>[]\\^`{|}?"<>[]\\^`{|}',
                "/?",
                "/??a=b?c",
                "/?a=1&a=2&&b=&c",
            )
        ),
        ("", "/"),
        ("?a=b", "/?a=b"),
        ("/a#fragment", "/a"),
        ("/a?b#fragment?c", "/a?b"),
        ("/a b?c d", "/a%20b?c%20d"),
        ("/ä/%E4?ü=日", "/%C3%A4/%E4?%C3%BC=%E6%97%A5"),
    ],
)
async def test_the_request_target_goes_out_byte_for_byte(fetcher, raw_server, asked, sent):
    raw_server.answer.extend(answer(b"x"))
    assert await fetcher.read(f"http://{raw_server.origin}{asked}") == b"x"
    request_line, *headers = raw_server.heads[0].decode().split("\r\n")
    assert request_line == f"GET {sent} HTTP/1.1"
    assert f"Host: {raw_server.origin}" in headers


# Without the time, which would be in the names of tests, and another one in each process that collects them.
PACKED = gzip.compress(b"pixels", mtime=0)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PACKED, ["Content-Encoding: gzip"]),
        (PACKED, ["Content-Encoding: X-GZip", "Content-Encoding: identity"]),
        (PACKED, ["Content-Encoding: gzip, identity"]),
        (zlib.compress(b"pixels"), ["Content-Encoding: deflate"]),
        (b"pixels", ["Content-Encoding:"]),
        (b"pixels", ["Content-Encoding: Identity"]),
    ],
)
async def test_origins_that_compress_without_being_asked_are_understood(fetcher, raw_server, body, headers):
    raw_server.answer.extend(answer(body, *headers))
    assert await fetcher.read(f"http://{raw_server.origin}/x") == b"pixels"


async def test_what_is_unpacked_is_bounded_too(make_settings, raw_server):
    fetcher = Downloads(make_settings(media_max_bytes=10_000))
    raw_server.answer.extend(answer(gzip.compress(bytes(10_001)), "Content-Encoding: gzip"))
    with pytest.raises(MediaTooLarge, match="10000 bytes"):
        await fetcher.read(f"http://{raw_server.origin}/x")
    await fetcher.aclose()


@pytest.mark.parametrize(
    ("status", "headers"),
    [("203 Non-Authoritative", []), ("206 Partial", ["Content-Range: bytes 0-5/6"])],
)
async def test_other_statuses_with_the_whole_body_are_answers(fetcher, raw_server, status, headers):
    raw_server.answer.extend(answer(b"pixels", *headers, status=status))
    assert await fetcher.read(f"http://{raw_server.origin}/x") == b"pixels"


@pytest.mark.parametrize(
    ("content_range", "said"),
    [
        ("bytes 0-5/12", "only a part"),
        ("bytes 6-11/12", "only a part"),
        ("bytes 0-5/*", "only a part"),
        ("bytes 0-11/12", "announced 12 bytes and sent 6"),
        ("nonsense", "only a part"),
    ],
)
async def test_a_part_is_not_taken_for_the_whole(fetcher, raw_server, content_range, said):
    raw_server.answer.extend(answer(b"pixels", f"Content-Range: {content_range}", status="206 Partial"))
    with pytest.raises(MediaFetchFailed, match=said):
        await fetcher.read(f"http://{raw_server.origin}/x")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
        b"garbage\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 204 Nothing\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_broken_answers_are_fetch_failures(fetcher, raw_server, raw):
    raw_server.answer.extend(raw)
    with pytest.raises(MediaFetchFailed):
        await fetcher.read(f"http://{raw_server.origin}/x")


async def test_a_lying_content_length_is_refused_before_the_body(fetcher, raw_server):
    raw_server.answer.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx")
    with pytest.raises(MediaTooLarge, match="99999999999"):
        await fetcher.read(f"http://{raw_server.origin}/x")


async def test_an_http_error_says_which(fetcher, web_server):
    with pytest.raises(MediaFetchFailed, match="HTTP status 404"):
        await fetcher.read(web_server.url + "/none")


async def test_unreachable_and_unknown_hosts(fetcher):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(MediaFetchFailed, match="no connection"):
            await fetcher.read(f"http://127.0.0.1:{port}/")
    for unknown in ("does-not-exist.invalid", "a..b", "a" * 64 + ".example"):
        with pytest.raises(MediaFetchFailed, match="host name does not resolve"):
            await fetcher.read(f"http://{unknown}/")


@pytest.mark.parametrize("url", ["http://", "https://user:pw@example.com/", "http://[::1", "ftp://x/", "http://x/\r\n"])
async def test_urls_that_may_not_be_fetched(fetcher, url):
    with pytest.raises(InvalidMedia):
        await fetcher.read(url)


async def test_no_signature_stands_in_any_message(web_server, make_settings):
    fetcher = Downloads(make_settings(media_fetch_timeout_s=0.2, media_max_bytes=10))

    async def hang(request):
        await web_server.stopping.wait()
        return web.Response()

    web_server.handlers["/hang"] = hang
    moved = {"Location": "https://u:S3CRET@h/x?sig=S3CRET"}
    pages = [
        web_server.url + "/hang",
        web_server.url + "/none",
        web_server.serve("/moved", b"", status=302, headers=moved),
        web_server.serve("/part", b"x", status=206),
        web_server.serve("/big", bytes(11)),
        web_server.serve("/br", b"x", headers={"Content-Encoding": "br"}),
        "http://127.0.0.1:1/",
        "http://127.0.0.1:99999/",
        "http://does-not-exist.invalid/",
        "http://u:S3CRET@h/",
        "http://h/\n",
    ]
    for page in pages:
        with pytest.raises((InvalidMedia, MediaFetchFailed, MediaTooLarge)) as caught:
            await fetcher.read(f"{page}?X-Amz-Signature=S3CRET#S3CRET")
        assert "S3CRET" not in caught.value.message
        assert "Signature" not in caught.value.message
    await fetcher.aclose()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]"],
)
async def test_the_own_network_is_out_of_reach(web_server, make_settings, host):
    fetcher = Downloads(make_settings(media_allow_private_networks=False, media_allowed_ports="*"))
    port = web_server.url.rpartition(":")[2]
    with pytest.raises(MediaFetchFailed):
        await fetcher.read(f"http://{host}:{port}/a")
    assert web_server.requests == []
    await fetcher.aclose()


async def test_a_refused_address_is_named_as_the_reason(web_server, make_settings):
    fetcher = Downloads(make_settings(media_allow_private_networks=False, media_allowed_ports="*"))
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(MediaFetchFailed, match="not public"):
            await fetcher.read(web_server.url.replace("127.0.0.1", host))
    await fetcher.aclose()


async def test_a_cancelled_download_lets_its_connection_go(web_server, fetcher, wait_for):
    async def hang(request):
        await web_server.stopping.wait()
        return web.Response()

    web_server.handlers["/hang"] = hang
    url = web_server.serve("/ok", b"fine")
    tasks = [asyncio.create_task(fetcher.read(f"{web_server.url}/hang?{n}")) for n in range(40)]
    async with asyncio.timeout(10):
        await wait_for(lambda: len(web_server.requests) >= 16)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await fetcher.read(url) == b"fine"


async def test_downloads_at_once_take_no_more_memory_than_there_is_and_all_end(web_server, make_settings):
    limits = {"media_max_bytes": 1_000_000, "max_media_bytes_in_memory": 16_000_000, "media_fetch_timeout_s": 60}
    fetcher = Downloads(make_settings(**limits))
    urls = [web_server.serve(f"/{number}", bytes(900_000)) for number in range(30)]
    most = 0

    async def use(url):
        nonlocal most
        async with fetcher.fetch(url, Modality.IMAGE) as body:
            most = max(most, fetcher.memory.encoded.held)
            await asyncio.sleep(0)
            return len(body)

    assert await asyncio.gather(*map(use, urls)) == [900_000] * 30
    assert 900_000 <= most <= 4_000_000
    assert fetcher.memory.encoded.held == 0
    await fetcher.aclose()


async def test_what_is_downloaded_counts_once_until_the_last_who_asked_for_it_leaves(web_server, settings, wait_for):
    async def answer(request):
        await web_server.stopping.wait()
        return web.Response(body=bytes(1000))

    web_server.handlers["/x"] = answer
    fetcher = Downloads(settings)
    leave = [asyncio.Event() for _ in range(3)]
    entered = 0

    async def use(event):
        nonlocal entered
        async with fetcher.fetch(web_server.url + "/x", Modality.IMAGE):
            entered += 1
            await event.wait()

    tasks = [asyncio.create_task(use(event)) for event in leave]
    await wait_for(lambda: web_server.requests)
    web_server.stopping.set()
    await wait_for(lambda: entered == 3)
    for event, task in zip(leave, tasks, strict=True):
        assert fetcher.memory.encoded.held == 1000
        event.set()
        await task
    assert fetcher.memory.encoded.held == 0
    await fetcher.aclose()


async def test_a_wait_for_memory_is_not_the_fault_of_whoever_sends(web_server, make_settings):
    limits = {"media_max_bytes": 1000, "max_media_bytes_in_memory": 4000, "media_fetch_timeout_s": 0.5}
    fetcher = Downloads(make_settings(**limits))
    async with fetcher.fetch(web_server.serve("/a", bytes(1000)), Modality.IMAGE):
        waiting = asyncio.create_task(fetcher.read(web_server.serve("/b", bytes(900))))
        # Longer than a download may take.
        await asyncio.wait([waiting], timeout=1)
        assert not waiting.done()
    assert len(await waiting) == 900
    hasty = Downloads(make_settings(**limits, media_memory_wait_s=0.05))
    async with hasty.memory.encoded.hold(1000):
        with pytest.raises(MediaMemoryFull):
            await hasty.read(web_server.url + "/b")
    assert hasty.memory.encoded.held == 0
    await fetcher.aclose()
    await hasty.aclose()


async def test_a_packed_body_counts_as_large_as_it_is(web_server, settings):
    fetcher = Downloads(settings)
    url = web_server.serve("/x", gzip.compress(bytes(100_000)), headers={"Content-Encoding": "gzip"})
    async with fetcher.fetch(url, Modality.IMAGE) as body:
        assert fetcher.memory.encoded.held == len(body) == 100_000
    await fetcher.aclose()
