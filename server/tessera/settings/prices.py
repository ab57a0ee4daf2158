"""What tokens cost."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings

from tessera.settings.visual import ANY_MODEL


class Prices(BaseModel):
    """Of one model, for a million tokens each; of media without a price of its own, that of text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: float = Field(ge=0)
    image: float | None = Field(None, ge=0)
    video: float | None = Field(None, ge=0)
    audio: float | None = Field(None, ge=0)
    answer: float = Field(0, ge=0)


class PriceSettings(BaseSettings):
    """A price list, for estimates."""

    prices: dict[str, Prices] = Field(
        {},
        description='By model, what a million tokens cost, as `{"model": {"text": 0.2, "image": 0.3, "answer": 0.6}}` '
        "(`video`, `audio` too; `*`: all other models): estimates tell it.",
    )
    price_currency: str = Field("USD", max_length=16, description="What these prices are in.")

    def prices_of(self, model: str) -> Prices | None:
        """Those of a model; None: there are none."""
        return self.prices.get(model) or self.prices.get(ANY_MODEL)
