"""Memory that requests and their answers may take, here and in Redis."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class MemorySettings(BaseSettings):
    """Budgets in bytes: what does not fit is refused, or waits."""

    max_body_bytes_in_memory: int = Field(
        256 * MIB,
        gt=0,
        description="Bodies of requests in one gateway, from their first byte until they are queued. It takes up to "
        "three times as much memory to read them.",
    )
    body_memory_wait_s: float = Field(5.0, gt=0, description="Longest wait of a body for room in the gateway.")
    max_media_bytes_in_memory: int = Field(
        0,
        ge=0,
        description="Media in one gateway, from the first byte that is fetched or read until it is decoded and stored; "
        "0: 512 MiB, and 256 MiB for each item that is decoded at once. An item that needs more is decoded alone.",
    )
    media_memory_wait_s: float = Field(60.0, gt=0, description="Longest wait of media for room in the gateway.")
    max_queued_bytes: int = Field(
        1024 * MIB, gt=0, description="Bodies of one model's requests that wait or run above which 429 is answered."
    )
    max_reply_bytes: int = Field(
        1024 * MIB,
        gt=0,
        description="Answers of one model in Redis. Beyond it the oldest complete ones are dropped, then others wait.",
    )
    max_queued_bytes_in_all: int = Field(2048 * MIB, gt=0, description="The same for all models together.")
