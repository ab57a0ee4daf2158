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
