"""Content parts of messages: of which kind one is, and that it is of one kind alone."""

from __future__ import annotations

from typing import Any

from tessera.errors import InvalidRequest, MissingField, UnsupportedPart
from tessera.gateway.body import Path, written
from tessera.gateway.kind import shown
from tessera.media import Modality

MEDIA = {
    "image_url": Modality.IMAGE,
    "video_url": Modality.VIDEO,
    "audio_url": Modality.AUDIO,
    "input_audio": Modality.AUDIO,
}
# Media that a client uploaded before, or sends without saying what it is: None where only the bytes tell.
FILES: dict[str, Modality | None] = {"file": None, "input_file": None, "input_image": Modality.IMAGE}
# Of the fields in which these hold what they hold, a part has one.
OF_FILES = {
    "file": ("file",),
    "input_file": ("file_id", "file_data", "file_url"),
    "input_image": ("file_id", "image_url"),
}
# Passed through: vLLM renders them as text. By kind, the field that holds it.
TEXT = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
    "tool_reference": "name",
}
# Those that an input of `/v1/responses` may have.
TEXTS_OF_INPUT = ("input_text", "output_text", "text", "refusal")
# What parts of other servers and of vLLM itself hold.
_OTHERS = ("input_image", "image_pil", "image_embeds", "video_embeds", "audio_embeds", "prompt_embeds")
_OF_FILES = ("file", "file_id", "file_data", "file_url")
# Of which a part has one, or none (`name` may be any part's).
CONTENTS = frozenset([*MEDIA, *_OTHERS, *_OF_FILES, *TEXT.values()]) - {"name"}


def kind_of(at: Path, part: dict[str, Any]) -> str:
    """The part's type, a key of ``MEDIA``, ``FILES`` or ``TEXT``; without one, what its fields say.

    Args:
        at: where it stands.

    Raises:
        UnsupportedPart: not one of these.
        InvalidRequest: it holds something of another kind, too, which vLLM would pass over without a word.
    """
    kind = part.get("type")
    if kind is None:
        kind = next((name for name in (*MEDIA, "text") if part.get(name) is not None), None)
    if not isinstance(kind, str) or not (kind in MEDIA or kind in FILES or kind in TEXT):
        known = ", ".join(("text", *MEDIA, *FILES))
        message = f"Content parts of type {shown(kind)} are not supported. Supported: {known}."
        raise UnsupportedPart(message, param=written(at))
    own = OF_FILES.get(kind) or (TEXT.get(kind, kind),)
    for name, value in part.items():
        if name in CONTENTS and name not in own and value is not None:
            raise InvalidRequest(
                f"A content part of type `{kind}` cannot have `{name}` too: send that in a part of its own.",
                param=written(at),
            )
    return kind


def check_text(at: Path, kind: str, part: dict[str, Any]) -> None:
    """Check that a part of a kind in ``TEXT`` has one.

    Raises:
        MissingField, InvalidRequest: naming the part; vLLM would drop it, or write out what stands there instead.
    """
    name = TEXT[kind]
    if part.get(name) is None:
        raise MissingField(f"A content part of type `{kind}` must have `{name}`, a string.", param=written(at))
    if not isinstance(part[name], str):
        raise InvalidRequest(f"`{name}` of a content part must be a string.", param=written(at))
