"""Subtitles: SubRip (``.srt``) and WebVTT texts, and what of them is shown at a time."""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

MOST_CUES = 20_000
_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"[ \t]*{_TIME}[ \t]+-->[ \t]+{_TIME}(?:[ \t].*)?")
# Marks of both formats for how a text looks.
_MARKS = re.compile(r"<[^<>]{0,256}>|\{\\[^{}]{0,256}\}")


class NoSubtitles(ValueError):
    """A text is none of these formats, or has too many subtitles; the message says which."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle, shown from its start until before its end, seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Subtitles:
    """Those of one video, by their start."""

    cues: tuple[Cue, ...]

    @classmethod
    def read(cls, text: str) -> Subtitles:
        """From a file's text.

        Raises:
            NoSubtitles: nothing in it is one, or there are more than ``MOST_CUES``.
        """
        cues: list[Cue] = []
        for cue in _cues(text):
            cues.append(cue)
            if len(cues) > MOST_CUES:
                raise NoSubtitles(f"more than {MOST_CUES:,} subtitles")
        if not cues:
            raise NoSubtitles("no subtitle in SubRip's or WebVTT's form, as `00:00:01,500 --> 00:00:04,000`")
        return cls(tuple(sorted(cues, key=attrgetter("start_s"))))

    def at(self, time_s: float) -> str:
        """What is shown at a time: the latest that has begun, as long as it lasts; empty: nothing."""
        began = bisect_right(self.cues, time_s, key=attrgetter("start_s"))
        if not began or self.cues[began - 1].end_s <= time_s:
            return ""
        return self.cues[began - 1].text


def _cues(text: str) -> Iterator[Cue]:
    lines = iter(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    for line in lines:
        if (times := _TIMES.fullmatch(line)) is None:
            continue
        said: list[str] = []
        for spoken in lines:
            if not spoken.strip():
                break
            said.append(html.unescape(_MARKS.sub("", spoken)).strip())
        if shown := " ".join(filter(None, said)):
            yield Cue(_seconds(*times.groups()[:4]), _seconds(*times.groups()[4:]), shown)


def _seconds(hours: str | None, minutes: str, seconds: str, parts: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes) + float(f"{seconds}.{parts}")
