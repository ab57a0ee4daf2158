"""Subtitles in both formats, and what is shown at a time."""

from __future__ import annotations

import pytest

from tessera.media import NoSubtitles, Subtitles

SRT = """\ufeff1
00:00:01,500 --> 00:00:04,000
Hello <i>there</i>,
{\\an8}you &amp; you

2
00:00:05,000 --> 00:00:06,000 X1:0

3
01:02:03,25 --> 01:02:04,000
Late"""
VTT = """WEBVTT - of a test

STYLE
::cue { color: red }

00:07.000 --> 00:09.000 align:start
- First
00:08.000 --> 00:10.000
not a time here

id
00:08.500 --> 00:08.750
<v Ann>Second</v>
"""


def test_subrip() -> None:
    read = Subtitles.read(SRT.replace("\n", "\r\n"))
    assert [(cue.start_s, cue.end_s, cue.text) for cue in read.cues] == [
        (1.5, 4.0, "Hello there, you & you"),
        (3723.25, 3724.0, "Late"),
    ]
    shown = [read.at(time) for time in (0.0, 1.49, 1.5, 3.99, 4.0, 3723.5)]
    assert shown == ["", "", "Hello there, you & you", "Hello there, you & you", "", "Late"]


def test_webvtt() -> None:
    read = Subtitles.read(VTT)
    assert [cue.text for cue in read.cues] == ["- First 00:08.000 --> 00:10.000 not a time here", "Second"]
    assert (read.at(8.6), read.at(8.8)) == ("Second", "")


def test_a_long_file_is_no_long_work() -> None:
    with pytest.raises(NoSubtitles, match="20,000"):
        Subtitles.read("0:01.000 --> 0:02.000\nx\n\n" * 20_001)
    with pytest.raises(NoSubtitles, match="-->"):
        Subtitles.read("<" * 1_000_000)
