"""What a request would cost, by the operator's price list."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from tessera.settings import Prices

_PER = 1_000_000
_MODALITIES = ("image", "video", "audio")


class Price(BaseModel):
    """Of a request."""

    currency: str
    prompt: float = Field(description="Of text and media, of what is known of them.")
    by_modality: dict[str, float] = Field(description="The same, by what it is for: `text`, `image`, …")
    answer_at_most: float = Field(description="Of an answer as long as the request allows (`max_tokens`).")


def price_of(prices: Prices, currency: str, text: int, media: Mapping[str, int], answer: int) -> Price:
    """The price of a request.

    Args:
        text: tokens.
        media: tokens by modality.
        answer: tokens of the longest answer.
    """
    each = {"text": text * prices.text}
    for name, tokens in media.items():
        own = getattr(prices, name)
        each[name] = tokens * (prices.text if own is None else own)
    by_modality = {name: price / _PER for name, price in each.items()}
    return Price(
        currency=currency,
        prompt=sum(each.values()) / _PER,
        by_modality=by_modality,
        answer_at_most=answer * prices.answer / _PER,
    )


def price_of_answer(prices: Prices, counts: Mapping[str, int]) -> float:
    """The price of a request that was answered, by the tokens that the engine counted, as in ``tessera_tokens``."""
    media = {name: counts[name] for name in _MODALITIES if name in counts}
    text = counts.get("prompt", 0) - sum(media.values())
    price = price_of(prices, "", text, media, counts.get("completion", 0))
    return price.prompt + price.answer_at_most
