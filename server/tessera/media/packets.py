"""What a video's packets say about its frames, read without decoding any of them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.video.stream import VideoStream

from tessera.errors import MediaDecodeFailed, MediaTooLong
from tessera.media.limits import MAX_VIDEO_FRAMES, Deadline

Numbers = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]

# Codecs whose decoder, emptied and given a keyframe, makes the same pixels from there on as if it had begun at the
# start; verified for each in tests/media/test_frames.py.
_RANDOM_ACCESS = frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9"})
# Codecs of which pictures that no other refers to can be left out without a trace; verified there too. Not HEVC: one
# that none of its own layer refers to may be one that a higher layer does.
_LEAVES_OUT = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
# FFmpeg gives an AVI's packets presentation times in the order of decoding, whatever the order of these is.
_UNORDERED = {("avi", "h264"), ("avi", "hevc")}
_MISSING = np.iinfo(np.int64).min
# A decoding time this much before the last one, or with formats that allow it this much behind it, is that of
# another recording that was joined to the first, with a clock of its own (FFmpeg's own limit for the latter).
_BACKWARD_S, _FORWARD_S = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """One entry for each packet in decoding order, without empty ones.

    Attributes:
        shown: it begins a picture that is to be seen.
        continues: it goes on with the picture of the packet before it: the second field of an interlaced one.
        keys: packets at which decoding may begin, ascending; empty where it has to begin at the start.
        times: when its picture is shown, s; None where the file does not say, or only for pictures in any order.
        moments: the same times, s, of pictures that are shown, ascending; None where the file does not say.
        tail_s: how long the last picture is shown, 0 where the file does not say.
        leaves_out: the decoder may leave out pictures that no other refers to.
        marks: by which a packet is known again: its presentation time in the stream's unit, and its bytes.
    """

    shown: npt.NDArray[np.bool_]
    continues: npt.NDArray[np.bool_]
    keys: Numbers
    times: Seconds | None
    moments: Seconds | None
    tail_s: float
    leaves_out: bool
    marks: tuple[Numbers, Numbers]

    @property
    def frames(self) -> int:
        """How many pictures are shown."""
        return int(np.count_nonzero(self.shown))

    def order(self) -> Numbers | None:
        """The packets of the pictures that are shown, in the order in which they are; None: only decoding tells."""
        if self.times is None:
            return None
        shown = np.flatnonzero(self.shown)
        ordered: Numbers = shown[np.argsort(self.times[shown], kind="stable")]
        return ordered


def read_packets(container: InputContainer, stream: VideoStream, deadline: Deadline) -> PacketIndex:
    """Read all packets of a stream.

    Raises:
        MediaDecodeFailed: there are none.
        MediaTooLarge: more than ``MAX_VIDEO_FRAMES``.
        MediaDecodeTimeout: the deadline has passed.
    """
    codec = stream.codec_context.codec.canonical_name
    packets = _read(container, stream, codec, deadline)
    clocked = bool(container.format.flags & cast(int, Flags.ts_discont.value))
    pts, continues = _fields(packets.pts, codec)
    shown = packets.shown & ~continues
    if clocked and packets.keys.size:
        # A recording that began in the middle: what comes before its first keyframe cannot be decoded.
        shown[: packets.keys[0]] = False
    if not shown.any():
        raise MediaDecodeFailed("The video has no frames.")
    leaves_out = codec in _LEAVES_OUT and not continues.any()
    marks = packets.pts, packets.sizes
    unit_s = float(stream.time_base or 0)
    if not unit_s or np.any(pts[shown] == _MISSING):
        return PacketIndex(shown, continues, packets.keys[:0], None, None, 0.0, leaves_out, marks)
    times = pts * unit_s + _shifts(packets.dts, unit_s, clocked=clocked)
    times -= times[shown].min()
    last = np.flatnonzero(shown)[np.argmax(times[shown])]
    ordered = not (stream.codec_context.has_b_frames and (container.format.name, codec) in _UNORDERED)
    jumps = ordered and codec in _RANDOM_ACCESS and not packets.changes
    return PacketIndex(
        shown=shown,
        continues=continues,
        keys=packets.keys if jumps else packets.keys[:0],
        times=times if ordered else None,
        moments=np.sort(times[shown]),
        # Of the last in both orders the shorter: MP4's lengths are those of decoding, a gap's may be among them.
        tail_s=float(min(packets.durations[last], packets.durations[-1])) * unit_s,
        leaves_out=leaves_out,
        marks=marks,
    )


@dataclass(frozen=True, slots=True)
class _Packets:
    """What the packets themselves say.

    Attributes:
        pts, dts, durations: in the stream's unit; ``_MISSING`` where there is no time.
        sizes: bytes.
        shown: not hidden by an edit list, nor by the codec.
        keys: numbers of those that claim to be keyframes.
        changes: the decoder's parameters change on the way, which leaving packets out would miss.
    """

    pts: Numbers
    dts: Numbers
    durations: Numbers
    sizes: Numbers
    shown: npt.NDArray[np.bool_]
    keys: Numbers
    changes: bool


def _read(container: InputContainer, stream: VideoStream, codec: str, deadline: Deadline) -> _Packets:
    pts, dts, durations, sizes, keys = (array("q") for _ in range(5))
    shown = bytearray()
    changes = False
    for packet in container.demux(stream):
        size = packet.size
        if size == 0:
            continue
        deadline.check()
        number = len(shown)
        if number >= MAX_VIDEO_FRAMES:
            raise MediaTooLong(f"The video has more than {MAX_VIDEO_FRAMES} frames.")
        if packet.is_keyframe:
            keys.append(number)
        changes = changes or (number > 0 and packet.has_sidedata("new_extradata"))
        pts.append(_stamp(packet.pts))
        dts.append(_stamp(packet.dts))
        durations.append(packet.duration or 0)
        sizes.append(size)
        shown.append(not packet.is_discard and not _is_hidden(packet, codec))
    if not shown:
        raise MediaDecodeFailed("The video has no frames.")
    return _Packets(
        np.array(pts, dtype=np.int64),
        np.array(dts, dtype=np.int64),
        np.array(durations, dtype=np.int64),
        np.array(sizes, dtype=np.int64),
        np.array(shown, dtype=np.bool_),
        np.array(keys, dtype=np.int64),
        changes,
    )


def _fields(pts: Numbers, codec: str) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Tell packets that are second fields, which H.264's may be: in a stream with times, they have none of their own.

    Returns:
        The times, second fields' with that of the first; and which packets are second fields.
    """
    missing = pts == _MISSING
    alone = not missing[0] and not np.any(missing[1:] & missing[:-1])
    if codec != "h264" or not alone:
        # More than one in a row without a time are pictures in one packet of the transport (MPEG-PS).
        return pts, np.zeros(len(pts), dtype=np.bool_)
    return np.where(missing, np.roll(pts, 1), pts), missing


def _shifts(dts: Numbers, unit_s: float, *, clocked: bool) -> Seconds:
    """Seconds to add to each packet's times, so that recordings that were joined follow one another.

    Args:
        dts: decoding times.
        unit_s: their unit.
        clocked: the format's clock may also be set forward.
    """
    shifts = np.zeros(len(dts))
    known = np.flatnonzero(dts != _MISSING)
    steps = np.diff(dts[known] * unit_s)
    joints = (steps < -_BACKWARD_S) | (clocked & (steps > _FORWARD_S))
    if joints.any() and not joints.all():
        shifts[known[1:][joints]] = np.median(steps[~joints]) - steps[joints]
    total: Seconds = np.cumsum(shifts)
    return total


def _stamp(time: int | None) -> int:
    return _MISSING if time is None else time


def _is_hidden(packet: Packet[VideoStream], codec: str) -> bool:
    """A VP8 picture that only others refer to has a packet of its own (RFC 6386, section 9.1: ``show_frame``)."""
    return codec == "vp8" and not memoryview(packet)[0] & 0x10
