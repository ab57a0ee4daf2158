"""What the commands have in common: settings out of flags, and how they refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import redis.asyncio as aioredis
import typer
from pydantic import ValidationError

from tessera.errors import TesseraError
from tessera.queue import REDIS_UNAVAILABLE, Address, connect
from tessera.settings import Settings
from tessera.telemetry import logging

_T = TypeVar("_T")

RedisUrl = Annotated[
    str | None, typer.Option(help="Redis that gateways and workers share.", envvar="TESSERA_REDIS_URL")
]


def read_settings(**flags: Any) -> Settings:
    """The settings, flags before all else. Exits with 2 and what is wrong where one has a bad value."""
    try:
        parsed = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            name = "TESSERA_" + str(problem["loc"][0]).upper()
            typer.secho(f"{name}: {problem['msg']} (it is {problem['input']!r})", fg="red", err=True)
        raise typer.Exit(2) from None
    logging.configure(parsed)
    return parsed


def require_redis(settings: Settings) -> None:
    """Exits with 2 where no Redis is named, or by an address that cannot be one."""
    if not settings.redis_url:
        raise refusal(
            "TESSERA_REDIS_URL is not set: gateways and workers meet in Redis. (`tessera up` brings its own.)"
        )
    for name in ("redis_url", "media_redis_url"):
        if url := getattr(settings, name):
            try:
                Address.parse(url, settings)
            except ValueError as error:
                raise refusal(f"TESSERA_{name.upper()}: {error}.") from None


def with_redis(redis_url: str | None, name: str, work: Callable[[aioredis.Redis, Settings], Awaitable[_T]]) -> _T:
    """Do something with the Redis that gateways and workers share.

    Exits with 2 where none is named, with 1 where it cannot be reached or does not have what the work asks for.

    Args:
        redis_url: as given by a flag.
        name: of the connection, for the operator of Redis.
    """
    settings = read_settings(redis_url=redis_url)
    require_redis(settings)

    async def run() -> _T:
        redis = connect(settings, name=name)
        try:
            return await work(redis, settings)
        finally:
            await redis.aclose()

    try:
        return asyncio.run(run())
    except REDIS_UNAVAILABLE as error:
        raise refusal(f"The Redis of TESSERA_REDIS_URL cannot be reached: {error}", code=1) from None
    except TesseraError as error:
        raise refusal(error.message, code=1) from None


def refusal(message: str, *, code: int = 2) -> typer.Exit:
    """Say why a command does not do what it was asked for; to be raised."""
    typer.secho(message, fg="red", err=True)
    return typer.Exit(code)
