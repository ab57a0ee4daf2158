from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tessera.errors import InvalidRequest
from tessera.gateway.body import Document
from tessera.gateway.endpoints import CHAT
from tessera.gateway.media_options import read_media_options
from tessera.media import MOST_FRAMES, ImageResize, MediaSpec, Modality
from tessera.queue import ModelCard

RESIZE = ImageResize(28, min_pixels=12_544, max_pixels=200_704)
SPEC = MediaSpec(video_sampling="opencv", image_resize=RESIZE)
EVENLY = ModelCard("m", "/m", 4096, media=SPEC.to_json())
AT_A_RATE = replace(EVENLY, media=replace(SPEC, video_sampling="qwen2_vl", video_max_frames=MOST_FRAMES).to_json())
OF_SIZES_UNKNOWN = replace(EVENLY, media=replace(SPEC, image_resize=None).to_json())
TRUSTING = replace(EVENLY, any_media_options=True)
IMAGE, VIDEO = {Modality.IMAGE}, {Modality.VIDEO}


def read(body, card=EVENLY, modalities=VIDEO):
    """The options, and what goes on."""
    document = Document(json.dumps({"model": "m", **body}).encode())
    options = read_media_options(document, CHAT, card, modalities)
    on = json.loads(document.encode())
    del on["model"]
    return options, on


def refused(body, **options):
    with pytest.raises(InvalidRequest) as caught:
        read(body, **options)
    return caught.value


def io(**video):
    return {"media_io_kwargs": {"video": video}}


def processor(**options):
    return {"mm_processor_kwargs": options}


@pytest.mark.parametrize("where", [io, processor])
def test_what_the_gateway_carries_out_goes_no_further(where):
    options, on = read(where(num_frames=7) | {"temperature": 0})
    assert options.spec == replace(SPEC, video_max_frames=7)
    assert on == {"temperature": 0}


@pytest.mark.parametrize("where", [io, processor])
def test_the_rate_goes_to_the_processor_too_which_tells_times_by_it(where):
    options, on = read(where(fps=0.5, num_frames=7))
    assert options.spec == replace(SPEC, video_fps=0.5, video_max_frames=7)
    assert on == processor(fps=0.5)
    assert read(where(fps=0.5), modalities=IMAGE)[1] == {}


def test_what_the_processor_needs_goes_on():
    options, on = read(io(fps=3) | processor(use_audio_in_video=True, max_pixels=50_000, fps=3.0))
    assert options.sound_of_videos
    assert on == processor(use_audio_in_video=True, max_pixels=50_000, fps=3)
    assert read(processor(min_pixels=1), modalities=IMAGE)[1] == processor(min_pixels=1)


def test_images_become_as_small_as_the_request_wants_them():
    options, _ = read(processor(max_pixels=50_000), modalities=IMAGE)
    assert options.spec.image_resize == replace(RESIZE, max_pixels=50_000)
    options, _ = read(processor(min_pixels=5, max_pixels=50_000), modalities=IMAGE)
    assert options.spec.image_resize == replace(RESIZE, min_pixels=5, max_pixels=50_000)


@pytest.mark.parametrize("modalities", [set(), {Modality.IMAGE, Modality.AUDIO}])
def test_sound_of_videos_is_nothing_without_videos(modalities):
    options, on = read(processor(use_audio_in_video=True), modalities=modalities)
    assert not options.sound_of_videos
    assert on == {}


def test_options_of_a_request_without_media_are_read_and_left_out():
    assert read(io(fps=3) | processor(max_pixels=50_000), modalities=set())[1] == {}
    assert refused(processor(max_pixels=0), modalities=set()).param == "mm_processor_kwargs.max_pixels"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"media_io_kwargs": None, "mm_processor_kwargs": None},
        {"media_io_kwargs": {}, "mm_processor_kwargs": {}},
        {"media_io_kwargs": {"video": None, "image": None}},
        io(fps=None, num_frames=None),
        processor(use_audio_in_video=None, max_pixels=None, size=None),
        processor(use_audio_in_video=False),
    ],
)
def test_nothing_asked_for(body):
    options, on = read(body)
    assert options.spec == SPEC
    assert not options.sound_of_videos
    assert on == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"media_io_kwargs": []}, "media_io_kwargs"),
        ({"mm_processor_kwargs": "x"}, "mm_processor_kwargs"),
        ({"media_io_kwargs": {"video": 5}}, "media_io_kwargs.video"),
        ({"media_io_kwargs": {"image": {"image_mode": "L"}}}, "media_io_kwargs.image"),
        (io(video_backend="pyav"), "media_io_kwargs.video.video_backend"),
        (processor(size={"longest_edge": 10**9}), "mm_processor_kwargs.size"),
        (processor(images_kwargs={"max_pixels": 10**9}), "mm_processor_kwargs.images_kwargs"),
        (processor(use_audio_in_video=1), "mm_processor_kwargs.use_audio_in_video"),
        (processor(use_audio_in_video="true"), "mm_processor_kwargs.use_audio_in_video"),
        *((processor(**{n: v}), f"mm_processor_kwargs.{n}") for n in ("min_pixels", "max_pixels", "num_frames")
          for v in (0, -1, True, 1.5, "1", [], 10**9, 1e300)),
        (processor(min_pixels=12_545), "mm_processor_kwargs.min_pixels"),
        (processor(max_pixels=200_705), "mm_processor_kwargs.max_pixels"),
        *((io(fps=v), "media_io_kwargs.video.fps") for v in (0, -1, True, "1", [], 121, 1e300)),
    ],
)  # fmt: skip
def test_what_is_unknown_or_out_of_bounds_is_named(body, param):
    assert refused(body).param == param
    assert f"`{param}`" in refused(body).message


@pytest.mark.parametrize(
    ("body", "one", "other"),
    [
        (io(fps=1) | processor(fps=2), "media_io_kwargs.video.fps", "mm_processor_kwargs.fps"),
        (
            io(num_frames=1) | processor(num_frames=2),
            "media_io_kwargs.video.num_frames",
            "mm_processor_kwargs.num_frames",
        ),
        (processor(min_pixels=5, max_pixels=4), "mm_processor_kwargs.min_pixels", "mm_processor_kwargs.max_pixels"),
        (io(fps=1, num_frames=2), "media_io_kwargs.video.fps", "media_io_kwargs.video.num_frames"),
        (io(num_frames=2) | processor(fps=1), "mm_processor_kwargs.fps", "media_io_kwargs.video.num_frames"),
    ],
)
def test_what_contradicts_itself_is_named_twice(body, one, other):
    error = refused(body, card=AT_A_RATE)
    assert error.param == one
    assert f"`{one}` and `{other}`" in error.message


@pytest.mark.parametrize("name", ["min_pixels", "max_pixels"])
def test_sizes_are_refused_where_the_models_own_are_not_known(name):
    error = refused(processor(**{name: 100}), card=OF_SIZES_UNKNOWN)
    assert error.param == f"mm_processor_kwargs.{name}"
    assert "cannot be set" in error.message


def test_an_operator_may_trust_requests():
    body = io(fps=2, video_backend="pyav") | processor(size={"longest_edge": 10}, fps=[2.0], use_audio_in_video=True)
    options, on = read(body, card=TRUSTING)
    assert on == body
    assert options.spec == replace(SPEC, video_fps=2, image_resize=None)
    assert options.sound_of_videos


@pytest.mark.parametrize(
    ("options", "shrinks"),
    [
        (None, True),
        ({}, True),
        ({"use_audio_in_video": True, "fps": 2}, True),
        ({"max_pixels": 10**7}, False),
        ({"size": {"longest_edge": 10**7}}, False),
        ({"images_kwargs": {"do_resize": False}}, False),
    ],
)
def test_images_stay_whole_where_a_trusted_request_has_a_say_in_their_size(options, shrinks):
    read_options, _ = read({"mm_processor_kwargs": options}, card=TRUSTING, modalities=IMAGE)
    assert read_options.spec.image_resize == (RESIZE if shrinks else None)
