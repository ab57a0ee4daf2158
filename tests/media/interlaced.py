"""H.264 whose fields are coded one by one (PAFF), as broadcasts and camcorders do and no encoder at hand does.

Every macroblock is raw samples (I_PCM), so that the syntax of ITU-T H.264, section 7.3, is all that there is to it.
"""

from __future__ import annotations

import io
from fractions import Fraction

import av

WIDTH, HEIGHT, GROUP = 32, 32, 5


def interlaced(frames: int) -> bytes:
    """An MPEG transport stream of frames of growing brightness, in groups of 5."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for at in range(frames):
            packet = av.Packet(_frame(at))
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = at
            packet.is_keyframe = at % GROUP == 0
            container.mux(packet)
    return buffer.getvalue()


def _frame(at: int) -> bytes:
    place = at % GROUP
    delimiter = _Bits().unsigned(8, 0xF0).unit(9)
    head = _sequence() + _picture() if place == 0 else b""
    fields = [_field(place, bottom, level=16 + 8 * at, group=at // GROUP) for bottom in (0, 1)]
    return delimiter + head + b"".join(fields)


def _sequence() -> bytes:
    bits = _Bits().unsigned(24, 77 << 16 | 30)  # Main profile, level 3.0
    for value in (0, 0, 0, 4, 1):  # id; 4 bits of frame number; order type 0 of 8 bits; one reference
        bits.golomb(value)
    bits.unsigned(1, 0).golomb(WIDTH // 16 - 1).golomb(HEIGHT // 32 - 1)
    return bits.unsigned(6, 0b001000).stop().unit(0x67)  # fields, and 8x8 inference


def _picture() -> bytes:
    bits = _Bits().golomb(0).golomb(0).unsigned(2, 0).golomb(0).golomb(0).golomb(0).unsigned(3, 0)
    return bits.golomb(0).golomb(0).golomb(0).unsigned(3, 0b100).stop().unit(0x68)


def _field(place: int, bottom: int, *, level: int, group: int) -> bytes:
    first = place == 0 and not bottom
    bits = _Bits().golomb(0).golomb(7).golomb(0).unsigned(4, place).unsigned(2, 0b10 | bottom)
    if first:
        bits.golomb(group % 2)
    bits.unsigned(8, 2 * place + bottom)
    bits.unsigned(2, 0) if first else bits.unsigned(1, 0)
    bits.golomb(0).golomb(1)
    for _ in range(WIDTH * HEIGHT // 2 // 256):
        bits.golomb(25).align().raw(bytes([level] * 256 + [128] * 128))
    return bits.stop().unit(0x25 if first else 0x21)


class _Bits:
    """Writes the bits of a NAL unit (sections 7.2 and 9.1)."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def unsigned(self, width: int, value: int) -> _Bits:
        self._bits.extend(f"{value:0{width}b}")
        return self

    def golomb(self, value: int) -> _Bits:
        digits = f"{value + 1:b}"
        self._bits.extend("0" * (len(digits) - 1) + digits)
        return self

    def align(self) -> _Bits:
        self._bits.extend("0" * (-len(self._bits) % 8))
        return self

    def raw(self, data: bytes) -> _Bits:
        for byte in data:
            self.unsigned(8, byte)
        return self

    def stop(self) -> _Bits:
        self._bits.append("1")
        return self.align()

    def unit(self, kind: int) -> bytes:
        """The unit with its start code, and without what looks like one inside."""
        text = "".join(self._bits)
        body = bytearray()
        for at in range(0, len(text), 8):
            byte = int(text[at : at + 8], 2)
            if body[-2:] == b"\0\0" and byte <= 3:
                body.append(3)
            body.append(byte)
        return b"\0\0\0\1" + bytes([kind]) + bytes(body)
