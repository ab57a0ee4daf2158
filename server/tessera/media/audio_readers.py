"""The two libraries that decode audio, block by block into a waveform."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import cast

import av
import soundfile
from av.audio.frame import AudioFrame

from tessera.media.container import open_container
from tessera.media.damage import check_damage
from tessera.media.levels import Samples
from tessera.media.limits import Deadline
from tessera.media.pieces import Piece
from tessera.media.sniff import Kind
from tessera.media.waveform import Waveform

_BLOCK_SAMPLES = 1 << 18
# What libsndfile says of a file that does not say how long it is.
_UNKNOWN_FRAMES = (1 << 63) - 1
# One for each channel. Of more, PyAV 18.1 looks for another one behind the last, and crashes; those have their samples
# beside each other, which takes longer.
_MOST_PLANES = 7


def read_with_libsndfile(piece: Piece, waveform: Waveform, deadline: Deadline) -> bool:
    """Whether all of the piece could be read. If not, the waveform is of no use."""
    read = 0
    try:
        with _Straight(BytesIO(piece.data)) as file:
            said = 0 if file.frames == _UNKNOWN_FRAMES else file.frames
            least = said if piece.least_samples is None else piece.least_samples
            frames = max(1, _BLOCK_SAMPLES // file.channels)
            # A block that is not full is the last one; asked again after damage, libsndfile may repeat sound.
            block_frames = frames
            while block_frames == frames:
                deadline.check()
                block = cast("Samples", file.read(frames, dtype="float32", always_2d=True))
                block_frames = len(block)
                read += block_frames
                waveform.add(block.T, file.samplerate)
    except soundfile.LibsndfileError:
        return False
    return read >= least


def read_with_ffmpeg(data: bytes, kind: Kind, waveform: Waveform, deadline: Deadline) -> bool:
    """Read the first audio stream; False if there is none.

    Raises:
        InvalidMedia: too much is damaged.
    """
    packets = lost = 0
    floats = _Floats()
    with open_container(data, kind) as container:
        if not container.streams.audio:
            return False
        for packet in container.demux(container.streams.audio[0]):
            deadline.check()
            packets += 1
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                lost += 1
                continue
            for frame in decoded:
                for channels in floats.of(frame):
                    waveform.add(channels, frame.sample_rate)
    # The last packet is not whole where a file is cut short: that is no damage in its middle.
    check_damage(lost - 1, packets)
    return True


class _Straight(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from its beginning to its end.

    soundfile seeks after every block, to where it is already: in an MP3 each time is a crackle, in Ogg it costs time.
    """

    def seekable(self) -> bool:
        """What keeps it from seeking."""
        return False


class _Floats:
    """Frames of any format as float; format, channels and rate may change on the way.

    vLLM leaves integers as they are, 32768 times too loud.
    """

    def __init__(self) -> None:
        self._format: tuple[str, str, int] | None = None
        self._converter: av.AudioResampler | None = None

    def of(self, frame: AudioFrame) -> Iterator[Samples]:
        """Samples ``[channels, n]``."""
        given = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter is None or given != self._format:
            self._format = given
            form = "fltp" if frame.layout.nb_channels <= _MOST_PLANES else "flt"
            self._converter = av.AudioResampler(format=form, layout=frame.layout, rate=frame.sample_rate)
        for converted in self._converter.resample(frame):
            samples = cast("Samples", converted.to_ndarray())
            yield samples.reshape(-1, converted.layout.nb_channels).T if converted.format.is_packed else samples
