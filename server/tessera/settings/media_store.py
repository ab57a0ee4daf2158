"""Where decoded media is kept besides Redis."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class MediaStoreSettings(BaseSettings):
    """A directory or object storage, for gateways and workers alike."""

    media_store_url: str = Field(
        "",
        pattern=r"^((file:///|s3://[^/]).+)?$",
        description="Where large decoded media is kept: `file:///…`, a directory that all see, or object storage as "
        "`s3://bucket/prefix` (credentials and endpoint as usual, `AWS_…`); empty: in Redis.",
    )
    media_redis_max_item_bytes: int = Field(
        1 * MIB, ge=0, description="Where there is such a place, what is larger than this does not go through Redis."
    )
