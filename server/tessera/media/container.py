"""Opening files with FFmpeg: only with the demuxer that the first bytes call for, never by its own guess."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from tessera.errors import MediaDecodeFailed, MediaTypeMismatch
from tessera.media.sniff import Kind


@contextmanager
def open_container(data: bytes, kind: Kind) -> Iterator[InputContainer]:
    """Open a file in memory.

    FFmpeg's guess would also find playlists and scripts, which make it open other files and URLs.

    Raises:
        av.FFmpegError: not what ``kind`` says.
    """
    with av.open(BytesIO(data), mode="r", format=kind.demuxer, metadata_errors="replace") as container:
        yield container


def moving_pictures(container: InputContainer) -> VideoStream:
    """The first stream of moving pictures; cover art does not count.

    Raises:
        MediaTypeMismatch: there is none.
        MediaDecodeFailed: FFmpeg has no decoder for it.
    """
    for stream in container.streams.video:
        if Disposition.attached_pic not in stream.disposition:
            if stream.codec_context is None:
                raise MediaDecodeFailed("The video is in a codec that this server does not read.")
            return stream
    raise MediaTypeMismatch("The file has no video stream.")
