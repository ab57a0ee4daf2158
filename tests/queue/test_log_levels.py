from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator

import pytest
import redis.asyncio as aioredis
import structlog
from typer.testing import CliRunner

from tessera import flags
from tessera.cli import app
from tessera.queue import FollowedLogLevel, LogLevels
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tessera.telemetry import logging

pytestmark = pytest.mark.usefixtures("nothing_from_outside")


@pytest.fixture(autouse=True)
def lines(settings: Settings) -> Iterator[io.StringIO]:
    """As in a process of its own, but for what is of the whole process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "_adopt_standard_logging", lambda *_: None)
        patch.setattr(logging, "_adopt_uncaught_errors", lambda: None)
        patch.setattr(logging.logging.getLogger(), "setLevel", lambda level: None)
        before, lines = structlog.get_config(), io.StringIO()
        patch.setattr("sys.stderr", lines)
        logging.configure(settings.model_copy(update={"log_format": "json"}))
        # It would do the same, with its own settings.
        patch.setattr(flags.logging, "configure", lambda settings: None)
        yield lines
        structlog.configure(**before)


def tell(settings: Settings, *arguments: str) -> tuple[int, str]:
    env = {"TESSERA_REDIS_URL": settings.redis_url, "TESSERA_REDIS_PREFIX": settings.redis_prefix}
    result = CliRunner().invoke(app, ["log-level", *arguments], env=env)
    return result.exit_code, result.output


def written(lines: io.StringIO) -> list[str]:
    """Which of three lines a logger writes."""
    log = structlog.get_logger()
    log.info("an_info")
    log.warning("a_warning")
    log.error("an_error")
    told = lines.getvalue()
    lines.truncate(0)
    return [event for event in ("an_info", "a_warning", "an_error") if event in told]


async def test_parts_follow_what_an_operator_says(
    redis_client: aioredis.Redis, settings: Settings, lines: io.StringIO
) -> None:
    level = FollowedLogLevel(LogLevels(redis_client, Keys(settings.redis_prefix)), "gateway", settings)
    everything = ["an_info", "a_warning", "an_error"]
    await level.look()
    assert written(lines) == everything
    for arguments, heard in (
        (["error", "--part", "worker"], everything),
        (["error", "--part", "gateway"], ["an_error"]),
        (["warning"], ["a_warning", "an_error"]),
        (["default"], everything),
    ):
        assert await _in_thread(settings, *arguments) == 0
        await level.look()
        assert written(lines) == heard, arguments


async def test_what_is_no_level_changes_nothing(
    redis_client: aioredis.Redis, settings: Settings, lines: io.StringIO
) -> None:
    keys = Keys(settings.redis_prefix)
    level = FollowedLogLevel(LogLevels(redis_client, keys), "gateway", settings)
    assert await _in_thread(settings, "loud") == 2
    await redis_client.hset(keys.log_levels, "gateway", "loud")
    await level.look()
    await redis_client.delete(keys.log_levels)
    await redis_client.set(keys.log_levels, "of another type")
    await level.look()
    assert written(lines) == ["an_info", "a_warning", "an_error"]


async def _in_thread(settings: Settings, *arguments: str) -> int:
    code, _ = await asyncio.to_thread(tell, settings, *arguments)
    return code


def test_it_tells_what_was_set(settings: Settings) -> None:
    assert tell(settings) == (0, "gateway: as TESSERA_LOG_LEVEL says\nworker: as TESSERA_LOG_LEVEL says\n")
    assert tell(settings, "debug", "--part", "worker") == (0, "worker: debug\n")
    assert tell(settings) == (0, "gateway: as TESSERA_LOG_LEVEL says\nworker: debug\n")
