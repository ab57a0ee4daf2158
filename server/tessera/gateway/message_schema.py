"""Messages in JSON Schema: what ``conversation``, ``content`` and ``part`` check, for the description of the API."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tessera.gateway.conversation import ROLES
from tessera.gateway.media_part import SUBTITLES
from tessera.gateway.part import CONTENTS, TEXT, TEXTS_OF_INPUT
from tessera.gateway.visual_budget import DETAILS, MOST_TOKENS

_STRING = {"type": "string", "minLength": 1}


def _part(own: str, value: dict[str, Any], kinds: Collection[str], *, typed: bool = False) -> dict[str, Any]:
    """A part that holds ``own``, and nothing of another kind.

    Args:
        typed: it has to say its type.
    """
    others = "|".join(sorted(CONTENTS - {own}))
    return {
        "type": "object",
        "required": ["type", own] if typed else [own],
        "properties": {"type": {"enum": [*kinds] if typed else [*kinds, None]}, own: value},
        "patternProperties": {f"^({others})$": {"type": "null"}},
    }


_FILE_ID = {**_STRING, "description": "The id of a file that was uploaded before."}
_FILE_DATA = {
    **_STRING,
    "description": "A medium, a PDF or a text, in base64 or as a data URL; each page of a PDF is an image.",
}
_FILE_URL = {**_STRING, "description": "The file by an http(s) URL, or as a data URL."}
_NULL = {"type": "null"}
DETAIL = {"enum": [*DETAILS, None]}
TOKENS_OF_PART = {
    "type": ["integer", "null"],
    "minimum": 1,
    "description": "It is made so small, or of so few frames, that it is no more tokens.",
}


def _object(own: dict[str, Any], *others: str) -> dict[str, Any]:
    """An object with the first of its own members, and without others."""
    return {
        "type": "object",
        "required": [next(iter(own))],
        "properties": {**own, **dict.fromkeys(others, _NULL)},
    }


def _url(what: str) -> dict[str, Any]:
    url = {**_STRING, "description": f"{what}, as a data URL or an http(s) URL."}
    return {"anyOf": [url, _object({"url": url}, "file_id")]}


def _media(name: str, what: str) -> dict[str, Any]:
    by_url = _url(what)
    return _part(name, {"anyOf": [*by_url["anyOf"], _object({"file_id": _FILE_ID}, "url", "data")]}, [name])


def _file(kind: str, **fields: Any) -> list[dict[str, Any]]:
    """A part of a type of its own, which has one of these fields."""
    return [_part(name, value, [kind], typed=True) for name, value in fields.items()]


def _visual(part: dict[str, Any]) -> dict[str, Any]:
    """A part with an image or a video, which may say how much it is to be."""
    properties = part["properties"]
    by_url = {"image_url", "video_url"}
    for given in [each for name in by_url & properties.keys() for each in properties[name]["anyOf"]]:
        if given["type"] == "object":
            given["properties"] |= {"detail": DETAIL}
    if not by_url & {*properties["type"]["enum"]}:
        properties["detail"] = DETAIL
    properties[MOST_TOKENS] = TOKENS_OF_PART
    return part


def _with_subtitles(part: dict[str, Any]) -> dict[str, Any]:
    about = "A SubRip or WebVTT file: the model is told those of the frames that it gets."
    part["properties"][SUBTITLES] = {"type": ["string", "null"], "description": about}
    return part


_SOUND = {
    "anyOf": [
        _object(
            {
                "data": {**_STRING, "description": "Sound in base64."},
                "format": {"type": ["string", "null"], "examples": ["wav", "mp3"]},
            },
            "file_id",
        ),
        _object({"file_id": _FILE_ID}, "url", "data"),
    ]
}
_UPLOADED = {
    "anyOf": [_object({"file_id": _FILE_ID}, "file_data"), _object({"file_data": _FILE_DATA}, "file_id")],
}
_IMAGE = _visual(_media("image_url", "PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF image"))
_OF_MEDIA = {
    "anyOf": [
        _IMAGE,
        _with_subtitles(_visual(_media("video_url", "MP4, WebM, MKV, MOV or AVI video"))),
        _media("audio_url", "WAV, MP3, FLAC, OGG or M4A sound"),
        _part("input_audio", _SOUND, ["input_audio"]),
        *_file("file", file=_UPLOADED),
        *_file("input_file", file_id=_FILE_ID, file_data=_FILE_DATA, file_url=_FILE_URL),
        *map(_visual, _file("input_image", image_url=_url("Image"), file_id=_FILE_ID)),
    ]
}


def _texts(kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """Parts with texts: by kind, the field that holds it."""
    return [
        _part(own, {"type": "string"}, [kind for kind in kinds if kinds[kind] == own], typed=own != "text")
        for own in dict.fromkeys(kinds.values())
    ]


_PART = {"anyOf": [{"type": "string"}, *_texts(TEXT), _OF_MEDIA]}
PART_OF_INPUT = {"anyOf": [*_texts({kind: TEXT[kind] for kind in TEXTS_OF_INPUT}), _OF_MEDIA]}
_CONTENT = {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]}
_CALL = {**_STRING, "description": "The id of a call that an earlier message of the assistant made."}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "description": "`TESSERA_CHAT_ROLES` may name others."},
        "content": _CONTENT,
    },
    "anyOf": [
        {"properties": {"role": {"enum": [role for role in ROLES if role != "tool"]}}},
        {"properties": {"role": {"const": "tool"}, "tool_call_id": _CALL}, "required": ["tool_call_id"]},
    ],
}
MESSAGES = {"type": "array", "minItems": 1, "items": _MESSAGE}
INPUT_OF_COHERE = {
    "type": "object",
    "required": ["content"],
    "properties": {
        "content": {"type": "array", "minItems": 1, "items": {"anyOf": [*_texts({"text": TEXT["text"]}), _IMAGE]}},
    },
}
CONTENT_OBJECT = {
    "type": "object",
    "required": ["content"],
    "properties": {"content": {"type": "array", "items": _PART}},
}
# What several endpoints take, by the name under which the description of the API has it once.
COMPONENTS = {"Message": _MESSAGE, "ContentPart": _PART, "InputPart": PART_OF_INPUT, "MediaPart": _OF_MEDIA}
