"""How many bytes of text are a token to each model, learnt from what engines have counted."""

from __future__ import annotations

from collections import OrderedDict

# Of most texts in most tokenizers.
USUAL = 4.0
_MOST_MODELS = 1024
# What a request adds to what is known: the last few hundred of them count.
_WEIGHT = 0.01
# Of shorter ones the template's own words are most.
_LEAST_TOKENS = 64


class TextRatios:
    """For one gateway; a look-up and a few additions for each request."""

    def __init__(self) -> None:
        self._sums: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def learn(self, model: str, nbytes: int, tokens: int) -> None:
        """A text of so many bytes was so many tokens."""
        if tokens < _LEAST_TOKENS or nbytes < 1:
            return
        known_bytes, known_tokens = self._sums.pop(model, (nbytes, tokens))
        keep = 1 - _WEIGHT
        self._sums[model] = (known_bytes * keep + nbytes, known_tokens * keep + tokens)
        if len(self._sums) > _MOST_MODELS:
            self._sums.popitem(last=False)

    def bytes_per_token(self, model: str) -> float:
        """``USUAL`` where nothing was learnt."""
        if (known := self._sums.get(model)) is None:
            return USUAL
        return max(known[0] / known[1], 0.25)
