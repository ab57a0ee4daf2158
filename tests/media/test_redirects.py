from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tessera.errors import InvalidMedia, MediaFetchBlocked, MediaFetchFailed, MediaFetchTimeout
from tests.media.downloads import Downloads


@pytest.fixture
async def fetcher(settings):
    fetcher = Downloads(settings)
    yield fetcher
    await fetcher.aclose()


def moved(web_server, path, location, status=302):
    return web_server.serve(path, b"gone", status=status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(fetcher, web_server, status):
    web_server.serve("/there", b"media")
    assert await fetcher.read(moved(web_server, "/here", web_server.url + "/there", status)) == b"media"


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("{url}/b?X-Sig=a%2Fb%20c+d&e=%7E#part", "/b?X-Sig=a%2Fb%20c+d&e=%7E"),
        ("/b?x=%2F", "/b?x=%2F"),
        ("b", "/folder/b"),
        ("../b", "/b"),
        ("?other", "/folder/a?other"),
        ("//{host}/b", "/b"),
    ],
)
async def test_the_place_goes_out_as_it_was_given_or_beside_the_one_before(fetcher, web_server, location, asked):
    host = web_server.url.removeprefix("http://")
    url = moved(web_server, "/folder/a", location.format(url=web_server.url, host=host))
    web_server.handlers["/b"] = web_server.handlers["/folder/b"] = lambda request: _text(request.raw_path)
    if asked.startswith("/folder/a"):
        begin = web_server.handlers["/folder/a"]
        web_server.handlers["/folder/a"] = lambda r: _text(r.raw_path) if r.query_string else begin(r)
    assert (await fetcher.read(url)).decode() == asked


async def _text(text):
    return web.Response(text=text)


async def test_no_more_are_followed_than_allowed(web_server, make_settings):
    fetcher = Downloads(make_settings(media_max_redirects=2))
    for hop in range(3):
        moved(web_server, f"/{hop}", f"/{hop + 1}")
    web_server.serve("/3", b"media")
    assert await fetcher.read(web_server.url + "/1") == b"media"
    with pytest.raises(MediaFetchFailed, match="redirects more than 2 times: send the final URL"):
        await fetcher.read(web_server.url + "/0")
    with pytest.raises(MediaFetchFailed, match="more than 2 times"):
        await fetcher.read(moved(web_server, "/loop", "/loop"))
    await fetcher.aclose()


async def test_one_deadline_for_all_of_them(web_server, make_settings):
    async def slow(request):
        await asyncio.sleep(0.3)
        return web.Response(status=302, headers={"Location": "/slow"})

    web_server.handlers["/slow"] = slow
    fetcher = Downloads(make_settings(media_fetch_timeout_s=0.5))
    with pytest.raises(MediaFetchTimeout):
        await fetcher.read(web_server.url + "/slow")
    assert len(web_server.requests) <= 2
    await fetcher.aclose()


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("file:///etc/passwd", InvalidMedia),
        ("ftp://example.com/x", InvalidMedia),
        ("gopher://127.0.0.1:6379/_FLUSHALL", InvalidMedia),
        ("http://user:S3CRET@example.com/", InvalidMedia),
        ("data:image/png;base64,AAAA", InvalidMedia),
        ("http://elsewhere.example/x?sig=S3CRET", MediaFetchBlocked),
    ],
)
async def test_each_is_checked_as_the_first(web_server, make_settings, location, problem):
    fetcher = Downloads(make_settings(media_allowed_hosts="127.0.0.1"))
    with pytest.raises((InvalidMedia, MediaFetchFailed)) as caught:
        await fetcher.read(moved(web_server, "/here", location))
    assert isinstance(caught.value, problem)
    assert "S3CRET" not in caught.value.message
    await fetcher.aclose()


async def test_a_redirect_without_a_place_is_an_error(fetcher, web_server):
    with pytest.raises(MediaFetchFailed, match="HTTP status 302"):
        await fetcher.read(web_server.serve("/here", b"", status=302))
