"""How much of images and videos models get to see where requests do not say."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings

ANY_MODEL = "*"


class VisualDefaults(BaseModel):
    """Those of one model: each counts where a request says nothing, and gives way where it cannot be kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detail: Literal["low", "high"] = "high"
    max_visual_tokens: int | None = Field(None, ge=1)
    visual_token_budget: int | None = Field(None, ge=1)


_USUAL = VisualDefaults()


class VisualSettings(BaseSettings):
    """Detail and budgets."""

    visual_defaults: dict[str, VisualDefaults] = Field(
        {},
        description="By model, what `detail`, `max_visual_tokens` and `visual_token_budget` are where a request does "
        'not say, as `{"model": {"detail": "low"}, "*": {"visual_token_budget": 4096}}`; `*`: all other models.',
    )

    def visual_defaults_of(self, model: str) -> VisualDefaults:
        """Those of a model."""
        return self.visual_defaults.get(model) or self.visual_defaults.get(ANY_MODEL) or _USUAL
