"""Image files written by hand: forms that Pillow does not write, and broken ones."""

from __future__ import annotations

import io
import re
import struct
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image


def encoded(picture: Any, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, format, **options)
    return buffer.getvalue()


def scene(width: int = 96, height: int = 64) -> np.ndarray:
    """A bright, noisy picture like a photograph: nothing in it is black."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 17 + y / 29), np.cos(x / 23 - y / 11), np.sin((x + y) / 13)], axis=-1)
    noise = np.random.default_rng(3).normal(0, 8, waves.shape)
    return np.clip(160 + 60 * waves + noise, 40, 255).astype(np.uint8)


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(pixels: Any, *, depth: int = 8, before: bytes = b"", transparent: tuple[int, ...] | None = None) -> bytes:
    """A PNG of grey ``[h, w]``, grey with alpha ``[h, w, 2]``, RGB or RGBA, of 1 to 16 bits a sample.

    Args:
        before: chunks in front of the pixels.
        transparent: one value or colour for ``tRNS``.
    """
    pixels = np.asarray(pixels)
    height, width, *channels = pixels.shape
    kind = {1: 0, 3: 2, 2: 4, 4: 6}[channels[0] if channels else 1]
    bits = (pixels.reshape(height, -1, 1) >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    hidden = b"" if transparent is None else chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), hidden, before, chunk(b"IDAT", data), chunk(b"IEND", b""))
    )


def tiff(pixels: Any, *, tags: dict[int, list[int]] | None = None, rows: int | None = None) -> bytes:
    """An uncompressed TIFF of grey ``[h, w]`` or RGB ``[h, w, 3]``, in the byte order and type of the array.

    Args:
        tags: in place of, or beside, the ones that follow from the array.
        rows: of a strip; None: all in one.
    """
    pixels = np.asarray(pixels)
    height, width, *channels = pixels.shape
    samples = channels[0] if channels else 1
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    rows = rows or height
    strips = [pixels[start : start + rows].tobytes() for start in range(0, height, rows)]
    start = 8
    offsets = []
    for strip in strips:
        offsets.append(start)
        start += len(strip)
    entries = {
        256: [width],
        257: [height],
        258: [pixels.dtype.itemsize * 8] * samples,
        259: [1],
        262: [2 if samples == 3 else 1],
        273: offsets,
        277: [samples],
        278: [rows],
        279: [len(strip) for strip in strips],
        339: [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * samples,
        **(tags or {}),
    }
    directory, values = struct.pack(order + "H", len(entries)), b""
    behind = start + 2 + 12 * len(entries) + 4
    for tag, numbers in sorted(entries.items()):
        field = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(field) > 4:
            values, field = values + field, struct.pack(order + "I", behind + len(values))
        directory += struct.pack(order + "HHI", tag, 4, len(numbers)) + field
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + b"".join(strips) + directory + bytes(4) + values


def jpeg_scans(data: bytes) -> list[slice]:
    """Where the scans of a JPEG without thumbnails stand, each with its header."""
    marks = [found.start() for found in re.finditer(rb"\xff(?=[\xda\xc4\xd9])", data)]
    return [slice(a, b) for a, b in pairwise(marks) if data[a + 1] == 0xDA]


def many_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan comes ``count`` times more."""
    last = jpeg_scans(data)[-1]
    return data[: last.stop] + data[last] * count + data[last.stop :]
