from __future__ import annotations

import pytest

from tessera.errors import InvalidMedia
from tessera.media.address import parse_address, shorten

SECRET = "S3CRET"


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target"),
    [
        ("http://h", "http", "h", 80, "/"),
        ("http://h:/a", "http", "h", 80, "/a"),
        ("https://h?a=1", "https", "h", 443, "/?a=1"),
        ("http://h/?", "http", "h", 80, "/?"),
        ("http://h/a?b#c?d", "http", "h", 80, "/a?b"),
        ("HTTPS://EXAMPLE.Com:8443/A", "https", "example.com", 8443, "/A"),
        ("http://example.com./", "http", "example.com.", 80, "/"),
        ("http://例え.jp/", "http", "xn--r8jz45g.jp", 80, "/"),
        # What resolvers and browsers take for an address stays what it is: the address that is connected to is checked.
        ("http://2130706433/", "http", "2130706433", 80, "/"),
        ("http://0x7f.1/", "http", "0x7f.1", 80, "/"),
        ("http://１２７。0.0.1/", "http", "127.0.0.1", 80, "/"),
        ("http://[::FFFF:127.0.0.1]:81/", "http", "::ffff:7f00:1", 81, "/"),
        ("http://h/\\@other/", "http", "h", 80, "/\\@other/"),
        ("http://h?@other/", "http", "h", 80, "/?@other/"),
        ("http://h#@other/", "http", "h", 80, "/"),
    ],
)
def test_where_a_url_leads_and_what_is_asked_for_there(url, scheme, host, port, target):
    address = parse_address(url)
    assert (address.scheme, address.raw_host, address.port, address.raw_path_qs) == (scheme, host, port, target)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http:", "complete"),
        ("http:/h/a", "complete"),
        ("http://", "complete"),
        ("http:///a", "complete"),
        ("http://?a", "complete"),
        ("ftp://h/", "complete"),
        ("https://user:pw@h/", "user name"),
        ("http://u@h/", "user name"),
        ("http://@h/", "user name"),
        ("http://good.example\\@evil.example/", "user name"),
        ("http://good.example\\.evil.example/", "host"),
        ("http://a b/", "host"),
        ("http://a%2eb/", "host"),
        ("http://a\u200bb/", "host"),
        ("http://a℀b/", "host"),
        ("http://[::1", "host"),
        ("http://[::1]x/", "host"),
        ("http://x[::1]/", "host"),
        ("http://[127.0.0.1]/", "host"),
        ("http://[fe80::1%25eth0]/", "host"),
        ("http://[fe80::1%eth0]/", "host"),
        ("http://h:99999/", "port"),
        ("http://h:-1/", "port"),
        ("http://h:８０/", "port"),
        ("http://h:80:80/", "port"),
        ("http://h/a\tb", "control character"),
        ("http://h/a\r\nHost: evil", "control character"),
        ("http://h\n/", "control character"),
        ("http://h/\0", "control character"),
        ("http://h/\ud800", "control character"),
    ],
)
def test_what_cannot_be_fetched_is_named(url, problem):
    with pytest.raises(InvalidMedia, match=problem):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://h/a.png?X-Amz-Signature={SECRET}#{SECRET}", "https://h/a.png"),
        (f"https://h#{SECRET}?x", "https://h"),
        (f"https://user:{SECRET}@h:8/a/@b?{SECRET}", "https://h:8/a/@b"),
        (f"https://a@{SECRET}@h/", "https://h/"),
        (f"//{SECRET}@h/a", "//h/a"),
        (f"http:/{SECRET}@h/a", "http:/h/a"),
        (f"http:\\\\{SECRET}@h\\a", "http:\\\\h\\a"),
        (f"/moved?token={SECRET}", "/moved"),
        (f"data:image/png;base64,{SECRET}", "data:image/png"),
        (f"DATA:,{SECRET}?", "DATA:"),
        ("https://h/" + "a" * 200, "https://h/" + "a" * 87 + "..."),
        ("", ""),
    ],
)
def test_what_may_be_secret_is_not_shown(url, shown):
    assert shorten(url) == shown
