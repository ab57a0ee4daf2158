"""The head of a request whose client offers another protocol, as if it had offered none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def head_without_upgrade(parser: Any, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What is to be parsed in place of a head.

    Args:
        parser: httptools', which has read the head.
        headers: by name in lower case.
    """
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), url, parser.get_http_version().encode())]
    lines += [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])
