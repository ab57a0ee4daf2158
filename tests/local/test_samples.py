import io
import itertools

import av
import numpy as np
import soundfile
from PIL import Image

from tessera.local import samples


def test_the_image_is_a_red_square_on_white():
    picture = Image.open(io.BytesIO(samples.image()))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (224, 224))
    pixels = np.asarray(picture).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1:].max(axis=-1) < 60)
    assert red[112, 112]
    assert red.sum() == 112 * 112
    assert (pixels[~red] == 255).all()


def test_in_the_video_a_blue_ball_moves_from_left_to_right():
    with av.open(io.BytesIO(samples.video())) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (224, 224, 8)
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
    assert len(frames) == 16
    centres = [np.nonzero(frame[..., 2] - frame[..., 0] > 100)[1].mean() for frame in frames]
    assert centres[0] < 40
    assert centres[-1] > 184
    assert all(later > earlier for earlier, later in itertools.pairwise(centres))


def test_the_sound_is_three_beeps():
    wave, rate = soundfile.read(io.BytesIO(samples.audio()))
    information = soundfile.info(io.BytesIO(samples.audio()))
    assert (rate, information.channels, information.subtype) == (16_000, 1, "PCM_16")
    assert len(wave) == 20_800
    loud = np.abs(wave).reshape(-1, 400).max(axis=1) > 0.1
    assert np.count_nonzero(np.diff(loud.astype(int), prepend=0) == 1) == 3


def test_samples_are_deterministic_and_small():
    for sample in (samples.image, samples.video, samples.audio):
        assert sample() == sample()
        assert len(sample()) < 50_000
