"""Fixtures of the worker's tests."""

from __future__ import annotations

import pytest
import redis.asyncio as aioredis

from tessera.queue import Broker
from tessera.settings import Settings


@pytest.fixture
def broker(redis_client: aioredis.Redis, settings: Settings) -> Broker:
    return Broker(redis_client, settings)
