from __future__ import annotations

import pytest

from tessera.errors import RequestTooLarge
from tessera.gateway.body import read_body


async def chunks(*parts):
    for part in parts:
        yield part


async def test_chunks_are_joined():
    assert await read_body(chunks(b'{"a"', b"", b": 1}"), None, 100) == b'{"a": 1}'


@pytest.mark.parametrize("declared", ["101", "9" * 30])
async def test_what_is_declared_too_large_is_not_read(declared):
    async def unread():
        raise AssertionError
        yield b""

    with pytest.raises(RequestTooLarge, match="100 bytes"):
        await read_body(unread(), declared, 100)


@pytest.mark.parametrize("declared", [None, "1", "-5", "x", "²"])
async def test_what_is_declared_is_not_believed(declared):
    with pytest.raises(RequestTooLarge):
        await read_body(chunks(b"x" * 60, b"x" * 60), declared, 100)
