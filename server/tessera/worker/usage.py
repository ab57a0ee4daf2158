"""What an answer says of its prompt's tokens: by modality, and part by part where the client asks for it.

vLLM counts media under ``multimodal_tokens``; beside it stand fields of OpenAI's kind, which sum to ``prompt_tokens``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import orjson

from tessera.queue import Job, PartTokens

_MODALITIES = ("image", "video", "audio")
_SOUND = b'"use_audio_in_video"'


def detailed(usage: dict[str, Any], job: Job) -> dict[str, Any]:
    """A usage object with all of it; as it is where it does not say how many tokens the prompt has."""
    prompt = usage.get("prompt_tokens")
    details = usage.get("prompt_tokens_details") or {}
    counted = details.get("multimodal_tokens") or {}
    if type(prompt) is not int or not all(type(count) is int for count in counted.values()):
        return usage
    media = {modality: counted.get(modality, 0) for modality in _MODALITIES}
    if media["audio"] >= media["video"] > 0 and _hears_videos(job):
        # vLLM counts a video and its sound, which are one to it, with both.
        media["audio"] -= media["video"]
    text = prompt - sum(media.values())
    if text < 0 or counted.keys() - media.keys():
        return usage
    details = {**details, "text_tokens": text, **{f"{name}_tokens": tokens for name, tokens in media.items()}}
    if job.parts:
        details["parts"] = _parts(job.parts, media)
    return {**usage, "prompt_tokens_details": details}


def _hears_videos(job: Job) -> bool:
    if _SOUND not in job.body:
        return False
    options = orjson.loads(job.body).get("mm_processor_kwargs") or {}
    return isinstance(options, dict) and bool(options.get("use_audio_in_video"))


def _parts(parts: tuple[PartTokens, ...], media: dict[str, int]) -> list[dict[str, Any]]:
    """Each part with its tokens; null where they are not known, or would not sum to what the engine counted."""
    by_modality: defaultdict[str, list[int | None]] = defaultdict(list)
    for part in parts:
        by_modality[part.modality].append(part.tokens)
    told = []
    for part in parts:
        planned, counted = by_modality[part.modality], media.get(part.modality)
        known = [tokens for tokens in planned if tokens is not None]
        tokens = counted if len(planned) == 1 else part.tokens
        if len(planned) > 1 and (len(known) < len(planned) or sum(known) != counted):
            tokens = None
        told.append({"path": part.path, "modality": part.modality, "tokens": tokens})
    return told
