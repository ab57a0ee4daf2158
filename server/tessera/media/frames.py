"""Decoding no more of a video than its wanted frames need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from tessera.errors import MediaTooLarge
from tessera.media.container import moving_pictures, open_container
from tessera.media.limits import Deadline
from tessera.media.packets import PacketIndex
from tessera.media.sniff import Kind
from tessera.settings import Settings
from tessera.telemetry import media as metrics

# More threads hold more frames in memory and gain little: the pool already keeps every core busy.
CODEC_THREADS = min(4, os.cpu_count() or 1)

# Going to a place in a file costs as much as reading so many packets.
_WORTH_SEEKING = 200
# Formats with a table of their packets. Others look for the place, and may find another one.
_TABLED = ("mov", "matroska")


class FrameReader:
    """Decodes single frames of a video.

    Only those packets are decoded on which a wanted frame depends: from the last keyframe before it on, as the index
    tells. Those between are read and left out, or passed over where the format has a table of its packets; what is
    found there has to be the packet of the index, or the file is read from end to end, since many files and demuxers
    get it wrong. Where a decoder does not take up at a keyframe as the index promises, as with intra refresh or false
    flags, all is decoded from the start.

    Args:
        data: the file.
        kind: its format.
        index: its packets.
        settings: limits.
        deadline: checked for every packet and frame.
    """

    def __init__(self, data: bytes, kind: Kind, index: PacketIndex, settings: Settings, deadline: Deadline):
        self._data = data
        self._kind = kind
        self._index = index
        self._settings = settings
        self._deadline = deadline

    def read(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Each of the wanted frames once, in any order, without those that cannot be decoded.

        Args:
            wanted: numbers of frames in the order in which they are shown, ascending.

        Raises:
            MediaTooLarge: a frame has too many pixels.
            MediaDecodeTimeout: the deadline has passed.
        """
        order = self._index.order()
        if order is None:
            yield from self._count(wanted)
            return
        frames = dict(zip(order[wanted].tolist(), wanted, strict=True))
        runs = _plan(list(frames), self._index)
        with suppress(_NoEntry):
            try:
                yield from self._decode(runs, frames, seek=self._kind.demuxer in _TABLED)
            except _Astray:
                yield from self._decode(_plan(list(frames), self._index), frames)
        if frames and runs[-1].start > 0:
            yield from self._decode([range(max(_end(packet, self._index) for packet in frames))], frames)

    def _count(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Frames of a video that does not say when they are shown: by the order in which the decoder shows them."""
        numbers = frozenset(wanted)
        with self._decoder() as decoder:
            shown = -1
            for picture in decoder.decode(range(len(self._index.shown)), None):
                if picture is not None and picture.pts is not None and not self._index.shown[picture.pts]:
                    continue
                # What is damaged would have been shown too.
                shown += 1
                if picture is not None and shown in numbers:
                    yield shown, picture
                if shown >= wanted[-1]:
                    return

    def _decode(
        self, runs: list[range], frames: dict[int, int], *, seek: bool = False
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Decode runs of packets.

        Args:
            runs: packets, each from a keyframe on.
            frames: numbers of wanted frames by their packets. What was found is removed, and so is what is missing
                for damage.

        Raises:
            _NoEntry: the decoder did not begin at a run's first packet.
            _Astray: with ``seek``, that was not found.
        """
        wanted = frozenset(frames) if self._index.leaves_out else None
        with self._decoder() as decoder:
            for run in runs:
                entered, damaged = run.start == 0, False
                if seek:
                    decoder.seek(run.start)
                for picture in decoder.decode(run, wanted):
                    if picture is None:
                        damaged = True
                        continue
                    packet = picture.pts
                    if packet == run.start and picture.pict_type == PictureType.I:
                        entered = True
                    if packet in frames:
                        if not entered:
                            raise _NoEntry
                        yield frames.pop(packet), picture
                if damaged:
                    for packet in frames.keys() & run:
                        del frames[packet]

    @contextmanager
    def _decoder(self) -> Iterator[_Decoder]:
        with open_container(self._data, self._kind) as container:
            stream = moving_pictures(container)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = CODEC_THREADS
            yield _Decoder(container, stream, self._index, self._settings, self._deadline)


class _NoEntry(Exception):
    """Decoding cannot begin where the index says that it can."""


class _Astray(Exception):
    """A place in the file holds another packet than the index says."""


class _Decoder:
    """Decodes runs of packets of an open file, one after the other."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        index: PacketIndex,
        settings: Settings,
        deadline: Deadline,
    ):
        self._container = container
        self._stream = stream
        self._codec = stream.codec_context
        self._index = index
        self._packets = self._from(0)
        # Of the packet that is read next.
        self._next = 0
        self._settings = settings
        self._deadline = deadline

    def seek(self, number: int) -> None:
        """Go on with a keyframe that is far ahead; one that is near is read up to.

        Raises:
            _Astray: the file has something else there.
        """
        passed = number - self._next
        if passed < _WORTH_SEEKING:
            return
        times, sizes = self._index.marks
        _go_to(self._container, int(times[number]), stream=self._stream)
        packets = self._from(number)
        first = next(packets, None)
        if first is None or (first[1].pts, first[1].size) != (times[number], sizes[number]):
            raise _Astray
        self._packets = chain([first], packets)
        metrics.video_packets.labels("skipped").inc(passed)

    def decode(self, run: range, wanted: frozenset[int] | None) -> Iterator[VideoFrame | None]:
        """Pictures of a run, with their packet's number as ``pts``; None where the decoder complains.

        Args:
            run: numbers of packets, behind those of the run before.
            wanted: packets of whose pictures those to which no other refers are needed too; None: of all.
        """
        decoded, skipped = 0, 0
        try:
            for number, packet in self._packets:
                self._next = number + 1
                self._deadline.check()
                if number < run.start:
                    skipped += 1
                    continue
                decoded += 1
                if wanted is not None:
                    self._codec.skip_frame = "DEFAULT" if number in wanted else "NONREF"
                # So that a picture tells which packet it was in; its time is in the index.
                packet.pts = number
                yield from self._pictures(packet)
                if number == run.stop - 1:
                    break
            yield from self._pictures(None)
            self._codec.flush_buffers()
        finally:
            metrics.video_packets.labels("decoded").inc(decoded)
            metrics.video_packets.labels("skipped").inc(skipped)

    def _from(self, number: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """The packets that come, the first with a number."""
        return enumerate((packet for packet in self._container.demux(self._stream) if packet.size), number)

    def _pictures(self, packet: Packet[VideoStream] | None) -> Iterator[VideoFrame | None]:
        try:
            pictures = self._codec.decode(packet)
        except av.error.InvalidDataError:
            # A damaged packet costs its own frame, not the video; OpenCV passes over it too.
            yield None
            return
        for picture in pictures:
            self._deadline.check()
            check_pixels(picture.width, picture.height, self._settings)
            yield picture


def _go_to(container: InputContainer, time: int, *, stream: VideoStream) -> None:
    """To the last keyframe that is not after a time, in the stream's unit."""
    container.seek(time, stream=stream)


def _plan(wanted: list[int], index: PacketIndex) -> list[range]:
    """Runs of packets to decode, each from a keyframe to the last wanted frame that depends on it.

    Args:
        wanted: packets of wanted frames, in the order in which these are shown.
        index: has times.
    """
    runs: list[range] = []
    for packet in wanted:
        start, stop = _entry(packet, index), _end(packet, index)
        if runs and start <= runs[-1].stop:
            runs[-1] = range(runs[-1].start, max(runs[-1].stop, stop))
        else:
            runs.append(range(start, stop))
    return runs


def _entry(packet: int, index: PacketIndex) -> int:
    """The last keyframe that neither comes after a packet nor is shown after it, or the first packet.

    Frames that follow a keyframe and are shown before it may depend on what is in front of it ("open GOP").
    """
    assert index.times is not None
    at = int(np.searchsorted(index.keys, packet, side="right")) - 1
    while at > 0:
        key = int(index.keys[at])
        if index.shown[key] and index.times[key] <= index.times[packet]:
            return key
        at -= 1
    return 0


def _end(packet: int, index: PacketIndex) -> int:
    """The packet after a picture's last one."""
    stop = packet + 1
    return stop + 1 if stop < len(index.continues) and index.continues[stop] else stop


def check_pixels(width: int, height: int, settings: Settings) -> None:
    """Raise ``MediaTooLarge`` for a frame of more than ``media_max_image_pixels``."""
    limit = settings.media_max_image_pixels
    if width * height > limit:
        raise MediaTooLarge(f"The video has frames of {width}x{height} pixels; at most {limit} pixels are allowed.")
