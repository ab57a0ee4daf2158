"""The sample video with the sample sound in it."""

from __future__ import annotations

import io

import av

from tessera.local import samples


def video_with_sound() -> bytes:
    """An MP4: the frames of the sample video as they are, the sample sound in AAC."""
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(samples.video())) as pictures,
        av.open(io.BytesIO(samples.audio())) as sound,
        av.open(buffer, "w", format="mp4") as container,
    ):
        video = container.add_stream_from_template(pictures.streams.video[0])
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for packet in pictures.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        resampler = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=16000, frame_size=1024)
        for frame in [*sound.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return buffer.getvalue()
