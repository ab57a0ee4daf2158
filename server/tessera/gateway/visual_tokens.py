"""How much an image may be to its model: ``detail`` and ``max_visual_tokens``, kept by making the image smaller.

That needs nothing of the engine: an image that is small enough is left as it is by the model's processor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tessera.errors import InvalidRequest, VisualBudgetTooSmall
from tessera.gateway.body import Path, written
from tessera.media import ImageResize, MediaItem, MediaSpec, Modality
from tessera.plan import Unplannable, smart_resize

DETAILS = ("low", "high", "auto")
MOST_TOKENS = "max_visual_tokens"
# What `low` is: a picture of 512x512 pixels, and no more than a quarter of what the model takes.
_LOW_PIXELS, _LOW_SHARE = 512 * 512, 4


@dataclass(frozen=True, slots=True)
class VisualLimit:
    """What one part asks for.

    Args:
        rule: the model's own, as far as the request leaves it; None: it is not known.
        low: ``detail`` is ``low``.
        most_tokens: ``max_visual_tokens``.
    """

    rule: ImageResize | None = None
    low: bool = False
    most_tokens: int | None = None

    def spec(self, spec: MediaSpec) -> MediaSpec:
        """How the part's image is prepared."""
        rule = self.rule
        if rule is None or not (self.low or self.most_tokens):
            return spec
        if self.low:
            rule = _narrowed(rule, min(_LOW_PIXELS, rule.max_pixels // _LOW_SHARE))
        if self.most_tokens:
            rule = _narrowed(rule, self.most_tokens * rule.factor**2)
        return replace(spec, image_resize=rule)

    def check(self, item: MediaItem, path: str) -> None:
        """See to it that the image is no more tokens than it may be.

        Args:
            item: as it was prepared.
            path: of its part.

        Raises:
            VisualBudgetTooSmall: no size of it is, saying how many it needs.
        """
        most, rule = self.most_tokens, self.rule
        if most is None or rule is None:
            return
        height, width = item.shape[:2]
        needed = tokens = _tokens(rule, width, height)
        if tokens <= most:
            return
        # What is found here was not made smaller; the least that it can be, it can be with more allowed.
        for needed in range(most + 1, tokens + 1):
            size = _narrowed(rule, needed * rule.factor**2).shrunk(width, height)
            if size is not None and _tokens(rule, *size) <= needed:
                break
        raise VisualBudgetTooSmall(
            f"This image cannot be {most} token(s) or fewer for this model: `{MOST_TOKENS}` must be at least {needed}.",
            param=path,
        )


def read_limit(at: Path, modality: Modality, detail: Any, most: Any, rule: ImageResize | None) -> VisualLimit:
    """What a part asks for.

    Args:
        at: where it stands.
        modality: of the part.
        detail: as it was given; None: it was not.
        most: the same of ``max_visual_tokens``.
        rule: how the model resizes images, if that is known.

    Raises:
        InvalidRequest: a value that is none, or that cannot be kept for this part or model; naming it.
    """
    if modality is Modality.IMAGE and detail is not None and detail not in DETAILS:
        known = ", ".join(f"`{each}`" for each in DETAILS)
        raise InvalidRequest(f"`detail` of an image must be one of {known}.", param=written(at))
    if most is not None:
        _check_most(most, (*at, MOST_TOKENS), modality, rule)
    return VisualLimit(rule, modality is Modality.IMAGE and detail == "low", most)


def _check_most(most: Any, at: Path, modality: Modality, rule: ImageResize | None) -> None:
    param = written(at)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise InvalidRequest(f"`{MOST_TOKENS}` must be an integer above 0.", param=param)
    if modality is not Modality.IMAGE:
        raise InvalidRequest(f"`{MOST_TOKENS}` is for images; {modality} parts cannot have it.", param=param)
    if rule is None:
        raise InvalidRequest(
            f"`{MOST_TOKENS}` cannot be kept for this model: how it resizes images is not known.", param=param
        )


def _narrowed(rule: ImageResize, pixels: int) -> ImageResize:
    return replace(rule, max_pixels=max(rule.min_pixels, min(rule.max_pixels, pixels)))


def _tokens(rule: ImageResize, width: int, height: int) -> int:
    try:
        size = smart_resize(width, height, rule.factor, rule.min_pixels, rule.max_pixels)
    except Unplannable:
        return 0  # the engine refuses it
    return size.width * size.height // rule.factor**2
