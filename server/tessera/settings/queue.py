"""Redis, which gateways and workers share."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class QueueSettings(BaseSettings):
    """Where it is, and how long it may be silent."""

    redis_url: str = Field(
        "",
        repr=False,
        description="Redis 6.2 or newer: `redis://HOST:PORT/DB`, `redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB`, "
        "`redis+cluster://HOST:PORT,HOST:PORT`, or with `rediss` for TLS; empty: `tessera up` starts an embedded one.",
    )
    redis_username: str = Field("", description="User of Redis (ACL), where the address names none.")
    redis_password: str = Field("", repr=False, description="Its password, where the address has none.")
    redis_sentinel_username: str = Field("", description="User of the Sentinels, where they ask for one.")
    redis_sentinel_password: str = Field("", repr=False, description="Password of the Sentinels.")
    redis_ca_file: Path | None = Field(
        None, description="Certificates (PEM) of who signs those of Redis; unset: those that the system trusts."
    )
    redis_cert_file: Path | None = Field(None, description="Certificate (PEM) that is shown to Redis.")
    redis_key_file: Path | None = Field(None, description="Key (PEM) of that certificate.")
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
