"""Subtitles out of the segments of a transcript: SubRip's, and WebVTT (W3C)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def srt(segments: Iterable[Mapping[str, Any]]) -> str:
    """As SubRip has them: numbered, with commas in their times."""
    cues = (
        f"{number}\n{_time(segment['start'], ',')} --> {_time(segment['end'], ',')}\n{_text(segment)}\n"
        for number, segment in enumerate(segments, 1)
    )
    return "\n".join(cues)


def vtt(segments: Iterable[Mapping[str, Any]]) -> str:
    """As WebVTT has them."""
    cues = (
        f"\n{_time(segment['start'], '.')} --> {_time(segment['end'], '.')}\n{_escaped(_text(segment))}\n"
        for segment in segments
    )
    return "".join(["WEBVTT\n", *cues])


def _time(seconds: float, point: str) -> str:
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{point}{ms % 1000:03}"


def _text(segment: Mapping[str, Any]) -> str:
    # An empty line would end the cue, and an arrow begin another.
    return " ".join(str(segment["text"]).split()).replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
