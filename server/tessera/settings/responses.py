"""Responses that are kept (``/v1/responses``)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class ResponseSettings(BaseSettings):
    """For how long, and how many of a tenant's."""

    responses_ttl_s: int = Field(
        86_400, gt=0, description="How long a response is kept after it ended, or was last continued."
    )
    responses_max_per_tenant: int = Field(
        10_000, gt=0, description="Most responses of a tenant that are kept; the oldest are dropped."
    )
    responses_max_bytes_per_tenant: int = Field(
        256 * MIB, gt=0, description="What a tenant's responses may take in Redis, with what was asked; as above."
    )
    responses_max_bytes: int = Field(
        16 * MIB,
        gt=0,
        description="Largest request whose response is kept, in bytes. Files that are named by `file_id` take none.",
    )
    responses_max_chain: int = Field(200, gt=0, description="Most responses that one may continue, one after another.")
