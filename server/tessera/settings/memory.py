"""Memory that requests and their answers may take, here and in Redis."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class MemorySettings(BaseSettings):
    """Budgets in bytes: what does not fit is refused, or waits."""

    max_queued_bytes: int = Field(
        1024 * MIB, gt=0, description="Bodies of one model's requests that wait or run above which 429 is answered."
    )
    max_queued_bytes_in_all: int = Field(2048 * MIB, gt=0, description="The same for all models together.")
