"""Lists of images that vLLM's clients send as a video."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tessera.errors import InvalidMedia, MediaDecodeTimeout, MediaTooLarge, TesseraError
from tessera.media import MediaSource, MediaSpec, MediaStage, Modality, RedisMediaStore, frame_list, unpack
from tessera.media.limits import Deadline, max_item_bytes


def jpegs(count, size=(40, 30), format="JPEG"):
    files = []
    rng = np.random.default_rng(2)
    for _ in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(buffer, format)
        files.append(buffer.getvalue())
    return files


def listing(files):
    return ",".join(base64.b64encode(file).decode() for file in files)


def opened(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def decode(files, settings, spec=None, deadline=None):
    spec = spec or MediaSpec()
    data = frame_list.read(listing(files), spec, settings.media_max_bytes)
    return frame_list.decode(data, spec, settings, deadline or Deadline())


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_list_is_a_video_of_these_frames_with_vllms_metadata(settings, format):
    files = jpegs(5, format=format)
    frames, metadata = decode(files, settings)
    assert np.array_equal(frames, [opened(file) for file in files])
    assert metadata == {
        "total_num_frames": 5,
        "fps": 1.0,
        "duration": 5.0,
        "video_backend": "jpeg_sequence",
        "frames_indices": [0, 1, 2, 3, 4],
        "do_sample_frames": False,
    }


def test_the_rate_of_a_request_is_that_of_the_list(settings):
    frames, metadata = decode(jpegs(6), settings, MediaSpec(video_fps=2.0, video_sampling="qwen3_vl"))
    assert len(frames) == 6
    assert (metadata["fps"], metadata["duration"]) == (2.0, 3.0)


def test_more_frames_than_the_model_takes_are_spread_over_the_list(settings):
    files = jpegs(10)
    frames, metadata = decode(files, settings, MediaSpec(video_max_frames=4))
    assert metadata["frames_indices"] == [0, 3, 6, 9]
    assert metadata["total_num_frames"] == 10
    assert np.array_equal(frames, [opened(files[at]) for at in (0, 3, 6, 9)])


def test_frames_are_scaled_down_to_the_room_there_is(make_settings):
    files = jpegs(4, size=(160, 120))
    assert decode(files, make_settings(media_max_frame_pixels=4800))[0].shape == (4, 60, 80, 3)
    settings = make_settings(media_store_max_bytes=4 * 1024 * 1024 + 4 * 100_000)
    assert decode(files, settings)[0].nbytes <= max_item_bytes(settings)


@pytest.mark.parametrize(
    ("place", "bad", "says"),
    [
        (0, b"", "1 of the list: The image is empty"),
        (2, b"GARBAGE", "3 of the list: The data is in no image format"),
        (3, jpegs(1)[0][:300], "4 of the list: The image cannot be decoded"),
        (4, jpegs(1, size=(41, 30))[0], "5 of the list: It has 41x30 pixels and the first frame 40x30"),
    ],
)
def test_an_error_names_the_number_of_its_frame(settings, place, bad, says):
    files = jpegs(5)
    files[place] = bad
    with pytest.raises(InvalidMedia, match=says):
        decode(files, settings)


def test_what_is_not_base64_is_named_too(settings):
    with pytest.raises(InvalidMedia, match=r"Frame 2 of the list: .* not base64"):
        frame_list.read("QUJD,*", MediaSpec(), 1000)


def test_pixels_bytes_frames_and_time_are_bounded(make_settings, settings, monkeypatch):
    files = jpegs(3)
    with pytest.raises(MediaTooLarge, match=r"Frame 1 of the list: .* 40x30"):
        decode(files, make_settings(media_max_image_pixels=1199))
    size = sum(map(len, files))
    assert len(decode(files, make_settings(media_max_bytes=size))[0]) == 3
    with pytest.raises(MediaTooLarge, match=f"more than {size - 1} bytes"):
        decode(files, make_settings(media_max_bytes=size - 1))
    with pytest.raises(MediaDecodeTimeout):
        decode(files, settings, deadline=Deadline(-1))
    monkeypatch.setattr(frame_list, "MAX_VIDEO_FRAMES", 2)
    with pytest.raises(MediaTooLarge, match="more than 2 frames"):
        decode(files, settings)


async def test_a_data_url_of_a_list_goes_through_the_stage(settings, redis):
    store = RedisMediaStore(redis, settings)
    stage = MediaStage(settings, store)
    files = jpegs(3)
    source = MediaSource.from_url(f"data:video/jpeg;base64,{listing(files)}")
    item = await stage.prepare(Modality.VIDEO, source, MediaSpec(), with_audio=True)
    header, frames = unpack(await store.get(item.digest))
    assert np.array_equal(frames, [opened(file) for file in files])
    assert header.metadata["audio_digest"] is None
    assert (await stage.prepare(Modality.VIDEO, source, MediaSpec(), with_audio=True)).digest == item.digest
    with pytest.raises(TesseraError):
        await stage.prepare(Modality.IMAGE, source, MediaSpec())
    await stage.aclose()
