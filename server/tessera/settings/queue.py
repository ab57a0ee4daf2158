"""Redis, which gateways and workers share."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class QueueSettings(BaseSettings):
    """Where it is, and how long it may be silent."""

    redis_url: str = Field("", description="Redis 6.2 or newer; empty: `tessera up` starts an embedded one.")
    redis_prefix: str = Field("tessera", description="Prefix of every key, so that systems can share a Redis.")
    redis_timeout_s: float = Field(5.0, gt=0, description="Longest wait for one Redis command.")
    max_overtakings: int = Field(
        64, ge=0, description="Jobs that may pass one that does not fit, before a worker is kept free for it."
    )
    max_overtaking_s: float = Field(10.0, ge=0, description="How long they may, from when it is first in the way.")
    max_dead_jobs: int = Field(100, ge=0, description="Jobs of a model that are kept after they were set aside.")
    max_dead_bytes: int = Field(256 * MIB, ge=0, description="What their bodies may take together.")
    dead_ttl_s: int = Field(604_800, gt=0, description="How long they are kept.")
    redis_outage_s: float = Field(60.0, gt=0, description="Running requests survive a Redis outage this long.")
