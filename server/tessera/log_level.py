"""`tessera log-level`: how much gateways and workers log, while they run."""

from __future__ import annotations

from typing import Annotated

import redis.asyncio as aioredis
import typer

from tessera.flags import RedisUrl, refusal, with_redis
from tessera.queue import LOG_PARTS, LogLevels, LogPart
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
    if level and level not in (*logging.LEVELS, AS_SET):
        raise refusal(f"There is no level `{level}`: {', '.join(logging.LEVELS)}, or {AS_SET}.")
    parts = LOG_PARTS if part is None else (part,)
    told = with_redis(redis_url, "log-level", lambda redis, settings: _change(redis, settings, level, parts))
    for name, now in told.items():
        typer.echo(f"{name}: {now or 'as TESSERA_LOG_LEVEL says'}")


async def _change(
    redis: aioredis.Redis, settings: Settings, level: str, parts: tuple[LogPart, ...]
) -> dict[str, str | None]:
    levels = LogLevels(redis, Keys(settings.redis_prefix))
    for part in parts if level else ():
        await (levels.forget(part) if level == AS_SET else levels.set(part, level))
    return {part: await levels.of(part) for part in parts}
