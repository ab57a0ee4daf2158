"""Headers, such as credentials, for the hosts that the operator names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

log = structlog.get_logger()


class SiteHeaders:
    """Read from a file, and again whenever that changes (secrets of Kubernetes are rotated so).

    Args:
        path: a JSON object of hosts, each an object of headers; None: there are none.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._read_at: int | None = None
        self._told = False
        self._headers: dict[str, dict[str, str]] = {}

    def of(self, host: str) -> Mapping[str, str]:
        """Headers for a host, and for no other: where a redirect leads elsewhere they are not sent along."""
        if self._path is not None:
            self._refresh(self._path)
        return self._headers.get(host.lower().rstrip("."), {})

    def _refresh(self, path: Path) -> None:
        try:
            changed = os.stat(path).st_mtime_ns
            if changed != self._read_at:
                self._headers = _parse(orjson.loads(path.read_bytes()))
                self._read_at, self._told = changed, False
        except (OSError, ValueError) as error:
            # What was there goes on to be sent; nothing of the file stands in the log.
            if not self._told:
                log.warning("media_headers_unreadable", file=str(path), reason=type(error).__name__)
            self._told = True


def _parse(read: Any) -> dict[str, dict[str, str]]:
    if not isinstance(read, dict):
        raise ValueError("not an object of hosts")
    parsed = {}
    for host, headers in read.items():
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise ValueError("not an object of headers")
        parsed[host.lower().rstrip(".")] = dict(headers)
    return parsed
