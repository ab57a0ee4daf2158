"""Endpoints that write down what is said in a sound. Their bodies are forms, as OpenAI has them.

The fields of a form are texts; ``speech_form`` makes of them what stands here.
"""

from __future__ import annotations

from typing import Any

from tessera.errors import InvalidRequest, UnsupportedPart
from tessera.gateway.body import Document, Endpoint
from tessera.gateway.body.width import answers
from tessera.gateway.media_part import FilePart, MediaPart
from tessera.media import MediaItem, MediaSource, Modality
from tessera.queue import SPEECH_PATHS

_TRANSCRIPTIONS, _TRANSLATIONS = SPEECH_PATHS
FILE, FILE_ID, FORMAT = "file", "file_id", "response_format"
# What vLLM makes itself, and what is made of its segments.
SEGMENTED = ("verbose_json", "srt", "vtt")
FORMATS = ("json", "text", "diarized_json", *SEGMENTED)
# OpenAI's, for which vLLM has nothing: it would pass over them without a word.
_UNKNOWN_LISTS = {
    "include": "log-probabilities of a transcript",
    "known_speaker_names": "names of speakers",
    "known_speaker_references": "voices of speakers",
}

_COUNT = {"type": ["integer", "null"], "minimum": 1}
_FLAG = {"type": ["boolean", "null"]}
_NUMBER = {"type": ["number", "null"]}
_PENALTY = {**_NUMBER, "minimum": -2, "maximum": 2}
_TEXT = {"type": ["string", "null"]}
_FIELDS: dict[str, Any] = {
    "language": {**_TEXT, "description": "Of the sound, as `en`; without it, the model finds out, or takes its own."},
    "prompt": {**_TEXT, "description": "What went before, or words that may come."},
    FORMAT: {
        "type": "string",
        "enum": [*FORMATS],
        "default": "json",
        "description": "`verbose_json`, `srt` and `vtt` need a model that tells times; `diarized_json` one that tells "
        "speakers apart.",
    },
    "temperature": {**_NUMBER, "minimum": 0, "maximum": 2},
    "stream": {**_FLAG, "default": False, "description": "Answer as server-sent events; with `json` or `text`."},
    "max_completion_tokens": {**_COUNT, "description": "For each clip of a long sound."},
    "seed": {"type": ["integer", "null"], "format": "int64"},
    "top_p": {**_NUMBER, "exclusiveMinimum": 0, "maximum": 1},
    "frequency_penalty": _PENALTY,
    "presence_penalty": _PENALTY,
    "n": {**_COUNT, "description": "Beams, with `use_beam_search`."},
    "use_beam_search": _FLAG,
}
_GRANULARITIES = {
    "timestamp_granularities": {
        "type": ["array", "null"],
        "items": {"type": "string", "enum": ["segment"]},
        "description": "Times of words are not known here.",
    }
}


def _read(document: Document) -> list[MediaPart | FilePart]:
    """The sound. Raises ``UnsupportedPart`` or ``InvalidRequest``, naming a field."""
    given = document.value
    for name, what in _UNKNOWN_LISTS.items():
        if given.get(name) is not None:
            raise UnsupportedPart(f"`{name}[]` is not supported: no {what} can be had here.", param=f"{name}[]")
    if given.get("stream") and given.get(FORMAT) not in (None, "json", "text"):
        raise InvalidRequest("Only `json` and `text` can be streamed.", param=FORMAT)
    if (file_id := given.get(FILE_ID)) is not None:
        return [FilePart((FILE_ID,), Modality.AUDIO, document.string(file_id), refer=_reference)]
    source = MediaSource.from_file_data(document.string(given[FILE]))
    return [MediaPart((FILE,), Modality.AUDIO, source, refer=_reference)]


def _reference(part: MediaPart, item: MediaItem) -> dict[str, Any]:
    return {"url": item.url}


def _row(path: str, about: str, fields: dict[str, Any]) -> Endpoint:
    return Endpoint(
        path=path,
        about=about,
        tasks=("transcription",),
        prompts=((FILE,), (FILE_ID,)),
        width=answers,
        fields={FILE: {"type": "string"}, FILE_ID: {"type": "string"}, **fields},
        example={"model": "whisper", "file": "speech.mp3", "language": "en"},
        streams=True,
        asks_usage=False,
        form=True,
        read=_read,
    )


TRANSCRIPTION = _row(_TRANSCRIPTIONS, "Write down what is said in a sound.", _FIELDS | _GRANULARITIES)
TRANSLATION = _row(_TRANSLATIONS, "Write down what is said in a sound, in English.", _FIELDS)
