"""The two addresses that a run compares, of a running deployment or of a stack started for the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from tessera.local.stack import free_port
from tessera.local.up import started
from tessera.settings import Settings


@dataclass(frozen=True, slots=True)
class Address:
    """Where one side listens (plain HTTP)."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Address:
        """From ``http://HOST[:PORT]``.

        Raises:
            ValueError: it is something else.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"{url!r} is not http://HOST[:PORT]")
        return cls(parts.hostname, parts.port or 80)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured."""

    direct: Address
    gateway: Address
    model: str


@asynccontextmanager
async def own_stack(console: Console) -> AsyncIterator[Target]:
    """A whole stack on free ports with a Redis of its own; every other setting comes from the environment.

    Raises:
        StartFailed: it did not come up.
    """
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": free_port(), "engine_port": free_port()}
    # A Redis that is named in the environment may be one that others use.
    settings = Settings(**chosen, redis_url="", media_redis_url="")
    async with started(settings, console, verbose=False) as stack:
        yield Target(Address("127.0.0.1", settings.engine_port), Address("127.0.0.1", settings.port), stack.model)
