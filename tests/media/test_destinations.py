from __future__ import annotations

import asyncio
import json
import os

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tessera.errors import MediaFetchBlocked, MediaFetchFailed
from tessera.media.address import parse_address
from tessera.media.destinations import Destinations
from tests.media.downloads import Downloads


def allows(settings, url):
    try:
        Destinations(settings).check(parse_address(url), url)
    except MediaFetchBlocked:
        return False
    return True


@pytest.mark.parametrize(
    ("ports", "private", "asked", "allowed"),
    [
        ("", False, "http://a.example/", True),
        ("", False, "https://a.example/", True),
        ("", False, "http://a.example:443/", True),
        ("", False, "http://a.example:8080/", False),
        ("", False, "http://a.example:22/", False),
        ("", True, "http://a.example:8080/", True),
        ("80, 8080", True, "http://a.example:8080/", True),
        ("80,8080", True, "https://a.example/", False),
        ("*", False, "http://a.example:6379/", True),
    ],
)
def test_ports(make_settings, ports, private, asked, allowed):
    settings = make_settings(media_allowed_ports=ports, media_allow_private_networks=private)
    assert allows(settings, asked) is allowed


@pytest.mark.parametrize(
    ("yes", "no", "host", "allowed"),
    [
        ("", "", "a.example", True),
        ("a.example", "", "a.example", True),
        ("a.example", "", "A.EXAMPLE.", True),
        ("a.example", "", "b.a.example", False),
        ("a.example", "", "xa.example", False),
        (".a.example", "", "b.a.example", True),
        (".a.example", "", "a.example", False),
        ("*.a.example, c.example", "", "c.example", True),
        ("*.a.example", "", "x.b.a.example", True),
        ("", "a.example", "a.example", False),
        ("", ".a.example", "b.a.example", False),
        ("", ".a.example", "a.example", True),
        (".a.example", "b.a.example", "b.a.example", False),
        ("xn--bcher-kva.example", "", "bücher.example", True),
    ],
)
def test_hosts(make_settings, yes, no, host, allowed):
    settings = make_settings(media_allowed_hosts=yes, media_denied_hosts=no)
    assert allows(settings, f"https://{host}/x") is allowed


async def test_the_same_url_is_fetched_once_for_all_who_wait_for_it(web_server, settings, wait_for):
    async def slow(request):
        await web_server.stopping.wait()
        return web.Response(body=b"media")

    web_server.handlers["/x"] = slow
    fetcher = Downloads(settings)
    tasks = [asyncio.create_task(fetcher.read(web_server.url + "/x")) for _ in range(5)]
    await wait_for(lambda: web_server.requests)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.wait(tasks[:2])
    web_server.stopping.set()
    assert await asyncio.gather(*tasks[2:]) == [b"media"] * 3
    assert len(web_server.requests) == 1
    # Nothing is remembered: what a URL leads to may change.
    await fetcher.read(web_server.url + "/x")
    assert len(web_server.requests) == 2
    await fetcher.aclose()


async def test_headers_go_to_their_own_host_and_change_with_their_file(web_server, make_settings, tmp_path):
    file = tmp_path / "headers.json"
    file.write_text(json.dumps({"127.0.0.1": {"Authorization": "Bearer S3CRET"}}))
    fetcher = Downloads(make_settings(media_headers_file=file))
    port = web_server.url.rpartition(":")[2]
    web_server.serve("/x", b"media")
    url = web_server.serve("/away", b"", status=302, headers={"Location": f"http://localhost:{port}/x"})
    await fetcher.read(url)
    assert [r.headers.get("Authorization") for r in web_server.requests] == ["Bearer S3CRET", None]
    file.write_text(json.dumps({"127.0.0.1": {"X-Key": "2"}}))
    os.utime(file, ns=(1, 1))
    await fetcher.read(web_server.url + "/x")
    assert web_server.requests[-1].headers.get("X-Key") == "2"
    with capture_logs() as logs:
        file.write_text("S3CRET")
        os.utime(file, ns=(2, 2))
        for _ in range(2):
            await fetcher.read(web_server.url + "/x")
    assert web_server.requests[-1].headers.get("X-Key") == "2", "what was there goes on"
    assert [line["event"] for line in logs] == ["media_headers_unreadable"]
    assert "S3CRET" not in str(logs)
    await fetcher.aclose()


async def test_a_proxy_is_asked_for_everything(web_server, make_settings):
    web_server.serve("/img.png", b"by the proxy")
    fetcher = Downloads(make_settings(media_proxy=web_server.url, media_allow_private_networks=False))
    assert await fetcher.read("http://images.example/img.png?a=%2F") == b"by the proxy"
    # An address that is not public is not even asked of a proxy.
    with pytest.raises(MediaFetchBlocked):
        await fetcher.read("http://169.254.169.254/latest")
    with pytest.raises(MediaFetchFailed):
        await fetcher.read("http://[::ffff:10.0.0.1]/")
    await fetcher.aclose()
    [request] = web_server.requests
    assert request.raw_path == "http://images.example/img.png?a=%2F"
