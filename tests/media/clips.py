"""Short videos whose frames tell their number, and what can be done to their packets."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np

from tessera.media import MediaSpec, video
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff

WIDTH, HEIGHT, BITS = 64, 48, 8


def numbered(index: int) -> Any:
    """A picture of 8 black or white stripes: its number, which survives any codec."""
    stripes = [255 * (index >> bit & 1) for bit in range(BITS)]
    row = np.repeat(np.array(stripes, dtype=np.uint8), WIDTH // BITS)
    return np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def number(frame: Any) -> int:
    """The number that a picture shows."""
    middles = frame[HEIGHT // 4 : -HEIGHT // 4, WIDTH // BITS // 2 :: WIDTH // BITS].mean(axis=(0, 2))
    return sum(1 << bit for bit, level in enumerate(middles) if level > 127)


def moving(index: int) -> Any:
    """A picture that differs from the one before everywhere, so that every frame depends on others."""
    rng = np.random.default_rng(5)
    wall = rng.integers(0, 256, (HEIGHT, WIDTH * 4, 3), dtype=np.uint8)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    gradient = np.stack([x * 2 + index, y * 3 + index * 2, x + y], axis=-1) % 192
    start = 3 * index % (3 * WIDTH)
    return wall[:, start : start + WIDTH] // 4 + gradient.astype(np.uint8) // 2


def clip(
    frames: int = 60,
    *,
    format: str = "mp4",
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: Fraction | int = 25,
    times: list[int] | None = None,
    unit: Fraction | None = None,
    picture: Callable[[int], Any] = numbered,
    options: dict[str, str] | None = None,
    encoder: dict[str, object] | None = None,
    tags: dict[str, int] | None = None,
) -> bytes:
    """Encode a video.

    Args:
        times: when each frame is shown, in ``unit`` (default: a frame's length).
        options, encoder: of the muxer and of the codec.
        tags: what the stream says of its colours, by the names of PyAV's attributes.
    """
    buffer = io.BytesIO()
    unit = unit or 1 / Fraction(rate)
    named = {name: str(value) for name, value in (encoder or {}).items()}
    with av.open(buffer, "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=named)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.codec_context.time_base = unit
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = times[index] if times else index
            frame.time_base = unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


@dataclass(frozen=True)
class Piece:
    """A packet of a file."""

    data: bytes
    pts: int | None
    dts: int | None
    duration: int
    key: bool


def pieces(data: bytes) -> list[Piece]:
    """The packets of a file's video, in decoding order."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return [
            Piece(bytes(p), p.pts, p.dts, p.duration or 0, p.is_keyframe) for p in container.demux(stream) if p.size
        ]


def remux(
    data: bytes,
    packets: Iterable[Piece],
    *,
    format: str,
    options: dict[str, str] | None = None,
    also: Callable[[Any], Any] | None = None,
) -> bytes:
    """Write packets into another file; parameters of the codec are those of ``data``.

    Args:
        also: adds another stream, and returns what is to be muxed of it at the end.
    """
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(buffer, "w", format=format, options=options or {}) as container:
        template = source.streams.video[0]
        stream = container.add_stream_from_template(template)
        more = also(container) if also else []
        for piece in packets:
            packet = av.Packet(piece.data)
            packet.stream, packet.time_base = stream, template.time_base
            packet.pts, packet.dts, packet.duration = piece.pts, piece.dts, piece.duration
            packet.is_keyframe = piece.key
            container.mux(packet)
        container.mux(more)
    return buffer.getvalue()


def later(piece: Piece, by: int) -> Piece:
    """The same packet at another time."""
    return replace(piece, pts=piece.pts + by, dts=None if piece.dts is None else piece.dts + by)


def decode(data: bytes, settings: Any, spec: MediaSpec | None = None) -> tuple[Any, dict[str, Any]]:
    """Frames and metadata, as the stage gets them."""
    return video.decode(data, sniff(data), spec or MediaSpec(), settings, Deadline())


def seen(data: bytes, settings: Any, spec: MediaSpec | None = None) -> list[tuple[float, int]]:
    """When the model is told that it sees what: time in seconds, and the number of the frame."""
    frames, metadata = decode(data, settings, spec)
    assert len(frames) == len(metadata["frames_indices"])
    times = [index / metadata["fps"] for index in metadata["frames_indices"]]
    return list(zip(times, map(number, frames), strict=True))
