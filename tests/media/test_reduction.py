"""Items made smaller once they are decoded."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.errors import Unavailable, VisualBudgetTooSmall
from tessera.local.samples import image, video
from tessera.media import (
    MediaSource,
    MediaSpec,
    MediaStage,
    MemoryMediaStore,
    Modality,
    Reduction,
    pack,
    unpack,
)
from tessera.settings import Settings
from tests.gateway.test_planning import data_url

FRAMES = np.arange(6 * 8 * 10 * 3, dtype=np.uint8).reshape(6, 8, 10, 3)
TIMES = {"fps": 10.0, "frames_indices": [0, 5, 11, 16, 22, 27], "do_sample_frames": True, "audio_digest": None}
PICTURE = MediaSource.from_url(data_url("image/png", image()))
CLIP = MediaSource.from_url(data_url("video/mp4", video()))


@pytest.fixture
async def stage():
    stage = MediaStage(Settings(media_sandbox="off"), MemoryMediaStore())
    yield stage
    await stage.aclose()


def reduced(reduction):
    return unpack(reduction.apply(pack(FRAMES, Modality.VIDEO, TIMES)))


def test_frames_keep_the_times_at_which_they_are_shown():
    header, frames = reduced(Reduction(frames=(0, 3, 5)))
    assert header.metadata["frames_indices"] == [0, 16, 27]
    assert header.metadata["fps"] == 10.0
    assert np.array_equal(frames, FRAMES[[0, 3, 5]])
    # No processor chooses among them once more.
    assert header.metadata["do_sample_frames"] is False


def test_every_frame_gets_the_size():
    header, frames = reduced(Reduction((5, 4)))
    assert frames.shape == (6, 4, 5, 3)
    assert header.metadata["frames_indices"] == TIMES["frames_indices"]


def test_an_image_gets_the_size():
    pixels = np.full((40, 60, 3), 77, np.uint8)
    header, smaller = unpack(Reduction((30, 20)).apply(pack(pixels, Modality.IMAGE, {})))
    assert header.shape == (20, 30, 3)
    assert set(np.unique(smaller)) == {77}


class Half:
    """A limit of one part."""

    def __init__(self, error=None):
        self.error = error

    def __call__(self, item):
        if self.error:
            raise self.error
        height, width = item.shape[-3:-1]
        return Reduction((width // 2, height // 2))


async def test_only_what_fits_is_stored(stage):
    half = Half()
    async with stage.hold() as holder:
        item = await stage.prepare(Modality.IMAGE, PICTURE, MediaSpec(), holder=holder, fit=half)
        assert item.shape == (112, 112, 3)
        assert set(stage._store.payloads) == {item.digest}
        assert (
            await stage.prepare(Modality.IMAGE, PICTURE, MediaSpec(), holder=holder, fit=half)
        ).digest == item.digest
        assert (await stage.prepare(Modality.IMAGE, PICTURE, MediaSpec(), holder=holder)).shape == (224, 224, 3)


async def test_what_cannot_fit_ends_the_preparation(stage):
    with pytest.raises(VisualBudgetTooSmall):
        await stage.prepare(Modality.IMAGE, PICTURE, MediaSpec(), fit=Half(VisualBudgetTooSmall("no")))
    assert not stage._store.payloads
    assert stage.memory.in_decode == 0


async def test_an_item_can_be_reduced_later_and_keeps_its_sound(stage):
    async with stage.hold() as holder:
        item = await stage.prepare(Modality.VIDEO, CLIP, MediaSpec(), holder=holder, with_audio=True)
        smaller = await stage.reduce(item, Reduction(frames=(0, 2)), holder)
        assert smaller.shape[0] == 2
        assert smaller.sound == item.sound
        assert smaller.metadata["audio_digest"] == item.metadata["audio_digest"]
        assert (await stage.reduce(item, Reduction(frames=(0, 2)), holder)).digest == smaller.digest


class Lossy(MemoryMediaStore):
    """It has lost what it was given."""

    async def get(self, digest):
        return None


async def test_an_item_that_the_store_has_lost_says_so():
    stage = MediaStage(Settings(media_sandbox="off"), Lossy())
    async with stage.hold() as holder:
        item = await stage.prepare(Modality.IMAGE, PICTURE, MediaSpec(), holder=holder)
        with pytest.raises(Unavailable):
            await stage.reduce(item, Reduction((9, 9)), holder)
        assert stage.memory.in_decode == 0
    await stage.aclose()
