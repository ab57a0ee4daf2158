"""LoRA adapters that are loaded while the server runs."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class AdapterSettings(BaseSettings):
    """How many there may be, and how long their loading may take."""

    max_adapters: int = Field(100, ge=0, description="Most LoRA adapters that are loaded at once; 0: none may be.")
    adapter_load_timeout_s: float = Field(
        120.0, gt=0, description="How long whoever loads or unloads an adapter is kept waiting for all workers."
    )
