"""Sound and videos in ``/v1/responses``, for which vLLM's schema of it has no parts.

The gateway sends them as files, which the schema has and vLLM itself can do nothing with: ``{"type": "input_file",
"file_url": reference, "filename": modality, "file_id": digest}``. Here they become the parts that chats have.
"""

from __future__ import annotations

from typing import Any

from tessera.media import Modality, digest_of

_MODALITIES = (Modality.AUDIO, Modality.VIDEO)


def restore_media(messages: list[Any]) -> list[Any]:
    """The messages of a chat that vLLM has made of a response's input, with their media."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            message["content"] = [_restored(part) for part in content]
    return messages


def _restored(part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") != "input_file":
        return part
    url, modality = part.get("file_url"), part.get("filename")
    if modality not in _MODALITIES or not isinstance(url, str) or digest_of(url) is None:
        return part
    kind = f"{modality}_url"
    return {"type": kind, kind: {"url": url}, "uuid": digest_of(url)}
