"""`tessera log-level`: how much gateways and workers log, while they run."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tessera.flags import RedisUrl, read_settings, refusal, require_redis
from tessera.queue import LOG_PARTS, REDIS_UNAVAILABLE, LogLevels, LogPart, connect
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tessera.telemetry import logging

AS_SET = "default"


def log_level(
    level: Annotated[
        str, typer.Argument(help=f"{', '.join(logging.LEVELS)}, or `{AS_SET}`: what each one's TESSERA_LOG_LEVEL says.")
    ] = "",
    part: Annotated[LogPart | None, typer.Option(help="Only these; without it, both.")] = None,
    redis_url: RedisUrl = None,
) -> None:
    """Change how much all running gateways and workers log, within seconds; without a level, tell what was set."""
    settings = read_settings(redis_url=redis_url)
    require_redis(settings)
    if level and level not in (*logging.LEVELS, AS_SET):
        raise refusal(f"There is no level `{level}`: {', '.join(logging.LEVELS)}, or {AS_SET}.")
    parts = LOG_PARTS if part is None else (part,)
    try:
        told = asyncio.run(_change(settings, level, parts))
    except REDIS_UNAVAILABLE as error:
        raise refusal(f"The Redis of TESSERA_REDIS_URL cannot be reached: {error}", code=1) from None
    for name, now in told.items():
        typer.echo(f"{name}: {now or 'as TESSERA_LOG_LEVEL says'}")


async def _change(settings: Settings, level: str, parts: tuple[LogPart, ...]) -> dict[str, str | None]:
    redis = connect(settings, name="log-level")
    try:
        levels = LogLevels(redis, Keys(settings.redis_prefix))
        for part in parts if level else ():
            await (levels.forget(part) if level == AS_SET else levels.set(part, level))
        return {part: await levels.of(part) for part in parts}
    finally:
        await redis.aclose()
