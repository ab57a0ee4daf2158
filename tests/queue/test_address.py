"""Addresses of Redis, as operators write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection

from tessera.queue import Address
from tessera.settings import Settings

PLAIN = Settings(redis_url="")


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "service", "options"),
    [
        ("redis://h", "single", (("h", 6379),), "", {"host": "h"}),
        ("redis://h:1/2", "single", (("h", 1),), "", {"host": "h", "port": 1, "db": 2}),
        ("redis://[::1]:7/0", "single", (("::1", 7),), "", {"host": "::1", "port": 7, "db": 0}),
        ("unix:///a/b?db=3", "single", (), "", {"path": "/a/b", "db": 3}),
        ("redis+sentinel://a,b:2,[::1]/main", "sentinel", (("a", 26379), ("b", 2), ("::1", 26379)), "main", {}),
        (
            "redis+sentinel://u:p%40@a:1/main/4",
            "sentinel",
            (("a", 1),),
            "main",
            {"username": "u", "password": "p@", "db": 4},
        ),
        ("redis+cluster://:p@a:1,b:2", "cluster", (("a", 1), ("b", 2)), "", {"password": "p"}),
        ("redis+cluster://a/0", "cluster", (("a", 6379),), "", {"db": 0}),
    ],
)
def test_what_is_read(url, kind, hosts, service, options):
    address = Address.parse(url, PLAIN)
    told = {name: value for name, value in address.options.items() if name != "connection_class"}
    assert (address.kind, address.hosts, address.service, address.tls) == (kind, hosts, service, False)
    assert told == ({"port": 6379} | options if url == "redis://h" else options)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "does not begin as one of"),
        ("http://h", "does not begin as one of"),
        ("unix+cluster:///s", "does not begin as one of"),
        ("redis+ring://h", "redis+ring://, which is none of"),
        ("redis://", "names no host"),
        ("redis://a,b", "several servers: write redis+sentinel"),
        ("redis://h:pw@h:x", "no number below 65536"),
        ("redis+cluster://h:70000", "no number below 65536"),
        ("redis+sentinel://a:1,b:2", "lacks the name that the Sentinels"),
        ("redis+cluster://a/1", "no database but 0"),
        ("redis://h?socket_keepalives=1", "option `socket_keepalives` that there is not"),
        ("rediss://h?ssl_ca_certs=/none/ca.crt", "no file /none/ca.crt, which `ssl_ca_certs` names"),
    ],
)
def test_what_is_refused(url, said):
    with pytest.raises(ValueError, match=said.replace("+", r"\+")) as refused:
        Address.parse(url, PLAIN)
    assert "pw" not in str(refused.value)


def test_settings_say_what_the_address_leaves_open(tmp_path: Path):
    ca = tmp_path / "ca.crt"
    ca.touch()
    settings = Settings(redis_username="u", redis_password="p", redis_ca_file=ca)
    for scheme in ("rediss://h", "rediss+sentinel://h/main", "rediss+cluster://h"):
        address = Address.parse(scheme, settings)
        assert address.tls
        assert {k: address.options[k] for k in ("username", "password", "ssl_ca_certs")} == {
            "username": "u",
            "password": "p",
            "ssl_ca_certs": str(ca),
        }
    assert Address.parse("rediss://h", settings).options["connection_class"] is SSLConnection
    own = Address.parse("rediss://v:q@h", settings).options
    assert (own["username"], own["password"]) == ("v", "q")
    assert "username" not in Address.parse("rediss://:q@h", settings).options
    with pytest.raises(ValueError, match="TESSERA_REDIS_CA_FILE is set, and it does not ask for TLS"):
        Address.parse("redis://h", settings)
    only_media = settings.model_copy(update={"redis_url": "rediss://h"})
    assert "ssl_ca_certs" not in Address.parse("redis://media", only_media).options
    assert "'p'" not in repr(address)
    assert "redis_password" not in repr(settings)
