"""ID3v2 tags (id3.org, 2.2 to 2.4), which stand in front of MP3, AAC and FLAC, and between joined files."""

from __future__ import annotations

import re

PATTERN = rb"ID3[\x02-\x04].(?P<flags>.)(?P<size>[\x00-\x7f]{4})"
_TAG = re.compile(PATTERN, re.DOTALL)
_HEADER_BYTES = 10
_HAS_FOOTER = 0x10


def end_of_tag(data: bytes, start: int) -> int:
    """Offset behind the tag that begins at ``start``; ``start`` itself if none does."""
    tag = _TAG.match(data, start)
    if tag is None:
        return start
    # Seven bits a byte.
    content: int = sum(byte << shift for byte, shift in zip(tag["size"], (21, 14, 7, 0), strict=True))
    footer = _HEADER_BYTES if tag["flags"][0] & _HAS_FOOTER else 0
    return start + _HEADER_BYTES + content + footer
