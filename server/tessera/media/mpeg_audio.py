"""Frames of MPEG audio (MP3, MP2): where each one is, and a damaged file put in order.

The layout of headers is that of ISO/IEC 11172-3 and 13818-3, and of the usual extension "MPEG 2.5" for low rates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from tessera.media import id3
from tessera.media.damage import check_damage
from tessera.media.limits import Deadline

_HEADER_BYTES = 4
# Eleven bits of synchronisation, and no reserved version or layer, no free and no reserved bitrate.
_HEADER = rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]"
_HEADER_OR_TAG = re.compile(_HEADER + b"|" + id3.PATTERN, re.DOTALL)
# A first frame with one of these holds no sound: it says how long the file is, and what to cut off at its ends.
_LENGTH = re.compile(rb"Xing|Info|VBRI")
_LENGTH_OFFSET = 64
# Most frames that decoders leave out: that first one, and the delay and the padding of the encoder; or else the
# first frame of a file cut out of a longer one, which needs bytes of the frame before it.
_LEFT_OUT_WITH_LENGTH, _LEFT_OUT = 4, 1

_RATES_HZ = (44100, 48000, 32000)
# kbit/s by version (2.5 is like 2) and layer; the index starts at 1.
_BITRATES = {
    (1, 1): tuple(range(32, 449, 32)),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Stream(NamedTuple):
    """What stays the same in all frames of one stream; their sizes and bitrates may change."""

    layer: int
    rate_hz: int
    mono: bool


class Header(NamedTuple):
    """What a frame's header says: bytes of the frame, header included; samples of each channel; its stream."""

    size: int
    samples: int
    stream: Stream


class Frame(NamedTuple):
    """A frame from ``start`` to ``end``; where that is less than its header says, bytes are missing."""

    start: int
    end: int
    header: Header


def least_samples(data: bytes, deadline: Deadline) -> int | None:
    """How many samples of each channel a decoder must get out of a file to have read all of it.

    Returns:
        None where the file is not one whole stream: decoders may stop early. That is when it has no frames,
        something between them, or when rate or channels change. A last frame that is cut short is no matter.
    """
    first: Frame | None = None
    samples, end = 0, 0
    for frame in walk(data, deadline):
        header = frame.header
        if first is None:
            first = frame
        elif frame.start != end or header.stream != first.header.stream:
            return None
        samples += header.samples
        end = frame.start + header.size
    if first is None:
        return None
    tagged = _LENGTH.search(data, first.start, first.start + _LENGTH_OFFSET)
    left_out = _LEFT_OUT_WITH_LENGTH if tagged else _LEFT_OUT
    return samples - left_out * first.header.samples - (first.header.samples if end > len(data) else 0)


def repair(data: bytes, deadline: Deadline) -> bytes:
    """The frames alone, without what lies between them; those cut short are filled up, so that time stays right.

    A decoder that has to find its own way after damage passes over up to a second of good sound.

    Returns:
        Empty where there are no frames.

    Raises:
        MediaDecodeFailed: too much lies between the frames.
    """
    frames = bytearray()
    end = lost = 0
    for frame in walk(data, deadline):
        # Tags stand in front of each of several joined files.
        if frames and data.find(b"ID3", end, frame.start) < 0:
            lost += frame.start - end
        frames += data[frame.start : frame.end].ljust(frame.header.size, b"\0")
        end = frame.end
    check_damage(lost, len(frames) + lost)
    return bytes(frames)


def walk(data: bytes, deadline: Deadline) -> Iterator[Frame]:
    """All frames in order. After damage, a header counts only if another of the same stream follows its frame."""
    start = _find(data, 0, deadline)
    header = _header(data, start)
    while header is not None:
        deadline.check()
        end = following = start + header.size
        after = _header(data, end)
        if after is None:
            # Not inside of a tag: its pictures and texts may look like anything.
            following = _find(data, end if data.startswith(b"ID3", end) else start + _HEADER_BYTES, deadline)
            after = _header(data, following)
        yield Frame(start, min(end, following), header)
        start, header = following, after


def _find(data: bytes, start: int, deadline: Deadline) -> int:
    """Where the next frame begins for sure, from ``start`` on; the length of the data if there is none."""
    while (found := _HEADER_OR_TAG.search(data, start)) is not None:
        deadline.check()
        start = found.start()
        if found["size"] is not None:
            start = id3.end_of_tag(data, start)
            continue
        header = _header(data, start)
        if header is not None:
            end = start + header.size
            after = _header(data, end)
            if end == len(data) or (after is not None and after.stream == header.stream):
                return start
        start += 1
    return len(data)


def _header(data: bytes, start: int) -> Header | None:
    field = data[start : start + _HEADER_BYTES]
    return _parse(field[:3], field[3] >> 6 == 3) if len(field) == _HEADER_BYTES else None


@lru_cache(maxsize=4096)
def _parse(field: bytes, mono: bool) -> Header | None:
    synchronised = field[0] == 0xFF and field[1] >> 5 == 7
    version_bits, layer = field[1] >> 3 & 3, 4 - (field[1] >> 1 & 3)
    bitrate, rate, padding = field[2] >> 4, field[2] >> 2 & 3, field[2] >> 1 & 1
    if not synchronised or version_bits == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    version = 1 if version_bits == 3 else 2
    rate_hz = _RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version_bits]
    bits_per_s = _BITRATES[version, layer][bitrate - 1] * 1000
    stream = Stream(layer, rate_hz, mono)
    if layer == 1:
        return Header((12 * bits_per_s // rate_hz + padding) * 4, 384, stream)
    samples = 576 if (version, layer) == (2, 3) else 1152
    return Header(samples // 8 * bits_per_s // rate_hz + padding, samples, stream)
