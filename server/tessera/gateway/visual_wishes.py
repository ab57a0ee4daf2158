"""What a request asks for its images and videos to be: ``detail``, and budgets of tokens (see ``visual_budget``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tessera.errors import InvalidRequest
from tessera.gateway.body import Endpoint
from tessera.gateway.item_choices import can_thin
from tessera.gateway.media_options import MediaOptions
from tessera.gateway.media_part import MediaPart, is_count
from tessera.gateway.planning import effective_family
from tessera.gateway.visual_budget import BUDGET, DETAILS, MOST_TOKENS, VISUAL, PartLimit, VisualLimits
from tessera.media import Modality
from tessera.plan import Family
from tessera.queue import ModelCard
from tessera.settings import VisualDefaults

_UNKNOWN = "how its model counts media is not known here"


def read_limits(
    body: Mapping[str, Any],
    endpoint: Endpoint,
    parts: Sequence[MediaPart],
    card: ModelCard,
    options: MediaOptions,
    usual: VisualDefaults,
) -> VisualLimits:
    """What a request asks for.

    Args:
        body: the request.
        usual: where it does not.

    Raises:
        InvalidRequest: a value that is none, or that cannot be kept for this part or model; naming it.
    """
    family, why = effective_family(card, options), _UNKNOWN
    if family is not None and not endpoint.processed and family.fewer():
        family, why = None, f"its model's processor would have to be told, and vLLM's {endpoint.path} tells it nothing"
    for p in parts:
        _check(p, family, why)
    asked, paths = body.get(BUDGET), [p.path for p in parts]
    budget = None if asked is None else _tokens(asked, BUDGET, BUDGET)
    if family is None:
        if budget is not None and any(p.modality in VISUAL for p in parts):
            raise _not_kept(BUDGET, BUDGET, why)
        return VisualLimits(None, paths, [None] * len(parts))
    # What is said in a frame is told with its time: that frame stays.
    subtitled = any(p.modality is Modality.VIDEO and p.item is not None for p in parts)
    thin = not subtitled and can_thin(family, [p.modality for p in parts])
    limits = [_limit(p, family, usual, thin=thin) for p in parts]
    by_default = budget is None
    return VisualLimits(family, paths, limits, usual.visual_token_budget if by_default else budget, by_default, thin)


def _limit(p: MediaPart, family: Family, usual: VisualDefaults, *, thin: bool) -> PartLimit | None:
    if p.modality not in VISUAL:
        return None
    low = (usual.detail if p.detail in (None, "auto") else p.detail) == "low"
    most = _most_tokens(p)
    by_default = usual.max_visual_tokens if most is None else None
    if not low and by_default is None and most is None:
        return None
    return PartLimit(family, most, by_default, low, thin)


def _check(p: MediaPart, family: Family | None, why: str) -> None:
    if p.modality in VISUAL and p.detail is not None and p.detail not in DETAILS:
        known = ", ".join(f"`{each}`" for each in DETAILS)
        raise InvalidRequest(f"`detail` of an image or a video must be one of {known}.", param=p.path)
    if _most_tokens(p) is None:
        return
    at = _at(p)
    if p.modality not in VISUAL:
        raise InvalidRequest(f"`{MOST_TOKENS}` is for images and videos; {p.modality} parts cannot have it.", param=at)
    if family is None:
        raise _not_kept(MOST_TOKENS, at, why)


def _most_tokens(p: MediaPart) -> int | None:
    return None if p.most_tokens is None else _tokens(p.most_tokens, MOST_TOKENS, _at(p))


def _at(p: MediaPart) -> str:
    return f"{p.path}.{MOST_TOKENS}"


def _tokens(value: Any, name: str, param: str) -> int:
    if not is_count(value):
        raise InvalidRequest(f"`{name}` must be an integer above 0.", param=param)
    return int(value)


def _not_kept(name: str, param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"`{name}` cannot be kept for this request: {why}.", param=param)
