"""Batches: requests in a file, answered when there is room for them."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class BatchSettings(BaseSettings):
    """What they may take, beside people."""

    batch_share: float = Field(
        0.5, gt=0, le=1, description="Part of a worker's sequences that batches may take up, so that others find room."
    )
    batch_window_s: int = Field(
        86_400, gt=0, description="After that, what of a batch is not answered expires; OpenAI's only window is a day."
    )
    batch_max_lines: int = Field(100_000, gt=0, description="Most requests of a batch.")
    batch_lines_at_once: int = Field(
        128, gt=0, description="Requests of a batch that wait or run at once: its answers are kept in their order."
    )
    batches_at_once: int = Field(
        4, ge=0, description="Batches that a gateway runs at once; 0: it leaves them to others."
    )
    max_batches_per_tenant: int = Field(100, gt=0, description="Most batches of a tenant that have not ended.")
    batch_ttl_s: int = Field(2_592_000, gt=0, description="How long a batch is known after its end.")
