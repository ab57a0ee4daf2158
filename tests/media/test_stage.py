from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from tessera.errors import InvalidMedia, MediaFetchFailed, MediaStoreFull, MediaTooLarge, TesseraError
from tessera.media import (
    DecodeJob,
    MediaSource,
    MediaSpec,
    MediaStage,
    MemoryMediaStore,
    Modality,
    RedisMediaStore,
    decoder,
    unpack,
)
from tessera.media.decoding import measure
from tessera.media.limits import Deadline
from tessera.media.sniff import Kind
from tests.media import pictures

SPEC = MediaSpec()


def data_url(data, media_type="image/png"):
    return MediaSource.from_url(f"data:{media_type};base64,{base64.b64encode(data).decode()}")


class CountingStore(MemoryMediaStore):
    def __init__(self, max_bytes=None):
        super().__init__(max_bytes)
        self.puts = self.touches = 0

    async def put(self, digest, payload, holder):
        self.puts += 1
        return await super().put(digest, payload, holder)

    async def touch(self, digest, holder):
        self.touches += 1
        return await super().touch(digest, holder)


class CountingDecoder(decoder.ThreadDecoder):
    decoded = 0

    async def decode(self, job, *, small=False):
        self.decoded += 1
        return await super().decode(job, small=small)


@pytest.fixture
def store():
    return CountingStore()


@pytest.fixture
def counting(settings):
    return CountingDecoder(settings)


@pytest.fixture
async def stage(settings, store, counting):
    stage = MediaStage(settings, store, decoder=counting)
    yield stage
    await stage.aclose()


async def test_an_image_is_stored_under_the_digest_of_its_pixels(stage, store, samples):
    item = await stage.prepare(Modality.IMAGE, data_url(samples.image()), SPEC)
    header, pixels = unpack(store.payloads[item.digest])
    assert item.shape == header.shape == pixels.shape == (32, 48, 3)
    assert item.nbytes == len(store.payloads[item.digest])
    assert item.metadata == {}


async def test_the_same_pixels_from_different_files_are_stored_once(stage, store, samples):
    pixels = samples.image("PNG")
    other = samples.image("PNG", compress_level=0)
    assert pixels != other
    samples.rng = np.random.default_rng(7)
    first = await stage.prepare(Modality.IMAGE, data_url(samples.image("PNG")), SPEC)
    samples.rng = np.random.default_rng(7)
    second = await stage.prepare(Modality.IMAGE, data_url(samples.image("PNG", compress_level=0)), SPEC)
    assert first.digest == second.digest
    assert list(store.payloads) == [first.digest]


async def test_a_known_image_is_neither_decoded_nor_stored_again(stage, store, counting, samples):
    source = data_url(samples.image())
    first = await stage.prepare(Modality.IMAGE, source, SPEC)
    touches = store.touches
    again = await stage.prepare(Modality.IMAGE, source, MediaSpec(audio_sample_rate_hz=8000))
    assert again == first
    assert (counting.decoded, store.puts, store.touches) == (1, 1, touches + 1)


async def test_what_looks_like_something_known_is_told_from_it(stage, counting):
    def bitmap(colour):
        picture = Image.new("RGB", (48, 32))
        picture.paste(colour, (0, 31, 48, 32))  # the last row, which comes first in the file
        file = BytesIO()
        picture.save(file, "BMP")
        return data_url(file.getvalue())

    sources = [bitmap(colour) for colour in ("red", "blue")]
    assert len({source.glance() for source in sources}) == 1
    red, blue = [await stage.prepare(Modality.IMAGE, source, SPEC) for source in sources]
    assert red.digest != blue.digest
    assert [await stage.prepare(Modality.IMAGE, source, SPEC) for source in sources] == [red, blue]
    assert counting.decoded == 2


async def test_what_the_store_lost_is_made_again(stage, store, counting, samples):
    source = data_url(samples.image())
    item = await stage.prepare(Modality.IMAGE, source, SPEC)
    store.payloads.clear()
    assert await stage.prepare(Modality.IMAGE, source, SPEC) == item
    assert item.digest in store.payloads
    assert counting.decoded == 2


async def test_the_spec_is_part_of_what_is_remembered(stage, samples):
    sound = MediaSource.from_base64(base64.b64encode(samples.wav(0.5)).decode(), "wav")
    assert (await stage.prepare(Modality.AUDIO, sound, SPEC)).shape == (8000,)
    assert (await stage.prepare(Modality.AUDIO, sound, MediaSpec(audio_sample_rate_hz=8000))).shape == (4000,)
    film = data_url(samples.video(12), "video/mp4")
    assert (await stage.prepare(Modality.VIDEO, film, SPEC)).shape[0] == 12
    assert (await stage.prepare(Modality.VIDEO, film, MediaSpec(video_max_frames=3))).shape[0] == 3


async def test_the_memory_of_known_items_is_bounded(stage, counting, samples, monkeypatch):
    monkeypatch.setattr(stage._known, "_most", 2)
    first, second, third = (data_url(samples.image()) for _ in range(3))
    for source in (first, second, first, third, first, second):
        await stage.prepare(Modality.IMAGE, source, SPEC)
    # Only the second was forgotten: it was the longest unused when the third came.
    assert counting.decoded == 4


async def test_the_sound_of_a_video_is_an_item_of_its_own(stage, store, counting, samples):
    source = data_url(samples.video(12, sound_s=0.5), "video/mp4")
    film = await stage.prepare(Modality.VIDEO, source, SPEC, with_audio=True)
    header, track = unpack(store.payloads[film.metadata["audio_digest"]])
    assert header.modality is Modality.AUDIO
    assert track.size == pytest.approx(8000, rel=0.2)
    assert unpack(store.payloads[film.digest])[0].metadata == film.metadata
    assert "audio_digest" not in (await stage.prepare(Modality.VIDEO, source, SPEC)).metadata
    del store.payloads[film.metadata["audio_digest"]]
    assert await stage.prepare(Modality.VIDEO, source, SPEC, with_audio=True) == film
    assert film.metadata["audio_digest"] in store.payloads
    decoded = counting.decoded
    await stage.prepare(Modality.VIDEO, source, SPEC, with_audio=True)
    assert counting.decoded == decoded


async def test_a_silent_video_has_no_sound_item(stage, samples):
    item = await stage.prepare(Modality.VIDEO, data_url(samples.video(3), "video/mp4"), SPEC, with_audio=True)
    assert item.metadata["audio_digest"] is None


async def test_urls_are_fetched_each_time_and_decoded_once(stage, counting, samples, web_server):
    url = web_server.serve("/a.png", samples.image(), content_type="text/plain")
    source = MediaSource.from_url(url)
    first = await stage.prepare(Modality.IMAGE, source, SPEC)
    assert await stage.prepare(Modality.IMAGE, source, SPEC) == first
    assert (len(web_server.requests), counting.decoded) == (2, 1)
    web_server.serve("/a.png", samples.image())
    assert await stage.prepare(Modality.IMAGE, source, SPEC) != first
    with pytest.raises(MediaFetchFailed):
        await stage.prepare(Modality.IMAGE, MediaSource.from_url(web_server.url + "/none"), SPEC)


async def test_large_data_urls_take_the_same_way_through_threads(stage, samples):
    data = samples.image("BMP", width=512, height=512)
    assert len(data) > 512 * 1024
    item = await stage.prepare(Modality.IMAGE, data_url(data), SPEC)
    assert item.shape == (512, 512, 3)


async def test_large_files_are_fetched_and_remembered(stage, counting, samples, web_server):
    source = MediaSource.from_url(web_server.serve("/a.bmp", samples.image("BMP", width=512, height=512)))
    assert await stage.prepare(Modality.IMAGE, source, SPEC) == await stage.prepare(Modality.IMAGE, source, SPEC)
    assert counting.decoded == 1


@pytest.mark.parametrize("data", [b"", b"x", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", bytes(5000)])
async def test_hostile_data_is_invalid_for_every_modality(stage, data):
    for modality in Modality:
        with pytest.raises(InvalidMedia):
            await stage.prepare(modality, data_url(data, "application/octet-stream"), SPEC)
    assert stage.memory.in_decode == 0


async def test_random_bytes_behind_any_magic_raise_only_client_errors(stage):
    rng = np.random.default_rng(5)
    magics = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\x40\0\0\0WEBP",
        b"RIFF\x40\0\0\0WAVEfmt ",
        b"fLaC",
        b"OggS",
        b"ID3",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\0\x18ftypisom",
        b"FLV\x01",
        b"II*\0",
        b"\0\0\x01\xba",
    ]
    for magic in magics:
        for _ in range(6):
            source = data_url(magic + rng.bytes(int(rng.integers(0, 2000))), "application/octet-stream")
            for modality in Modality:
                with pytest.raises((InvalidMedia, MediaTooLarge)):
                    await stage.prepare(modality, source, SPEC)


async def test_limits_come_out_as_too_large(make_settings, samples):
    stage = MediaStage(make_settings(media_max_bytes=100, media_max_image_pixels=10), MemoryMediaStore())
    with pytest.raises(MediaTooLarge, match="bytes"):
        await stage.prepare(Modality.IMAGE, data_url(samples.image()), SPEC)
    await stage.aclose()


async def test_a_full_store_is_passed_on_and_releases_the_budget(settings, samples):
    stage = MediaStage(settings, MemoryMediaStore(max_bytes=10))
    with pytest.raises(MediaStoreFull):
        await stage.prepare(Modality.IMAGE, data_url(samples.image()), SPEC)
    assert stage.memory.in_decode == 0
    await stage.aclose()


async def test_what_is_prepared_is_held_until_the_context_ends_however_it_ends(stage, store, samples):
    film = data_url(samples.video(3, sound_s=0.2), "video/mp4")
    picture = data_url(samples.image())
    for _ in ("made", "recalled"):
        with suppress(ZeroDivisionError):
            async with stage.hold() as holder:
                items = [
                    await stage.prepare(Modality.VIDEO, film, SPEC, holder=holder, with_audio=True),
                    await stage.prepare(Modality.IMAGE, picture, SPEC, holder=holder),
                ]
                held = {items[0].digest, items[0].metadata["audio_digest"], items[1].digest}
                assert store.holds == {(digest, holder) for digest in held}
                raise ZeroDivisionError
        assert store.holds == set()
    await stage.prepare(Modality.IMAGE, picture, SPEC)
    assert store.holds == set()


async def test_errors_are_counted_by_code_and_have_no_param(stage):
    def count():
        labels = {"modality": "image", "code": "media_type_mismatch"}
        return REGISTRY.get_sample_value("tessera_media_errors_total", labels) or 0

    before = count()
    with pytest.raises(TesseraError) as caught:
        await stage.prepare(Modality.IMAGE, data_url(b"nothing"), SPEC)
    assert caught.value.param is None
    assert count() == before + 1


async def test_cancellation_releases_the_budget_and_stops_the_decoding(stage, samples, monkeypatch, wait_for):
    started, stopped = threading.Event(), threading.Event()

    def endless(job, settings, deadline):
        started.set()
        try:
            while True:
                deadline.check()
        finally:
            stopped.set()

    monkeypatch.setattr(decoder, "decode", endless)
    task = asyncio.create_task(stage.prepare(Modality.IMAGE, data_url(samples.image()), SPEC))
    await wait_for(started.is_set)
    assert stage.memory.in_decode > 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.memory.in_decode == 0
    await wait_for(stopped.is_set)
    monkeypatch.undo()
    assert await stage.prepare(Modality.IMAGE, data_url(samples.image()), SPEC)


async def test_small_images_pass_large_ones_that_hold_every_thread_and_all_the_room(
    make_settings, store, samples, monkeypatch, wait_for
):
    """The large ones end only after the small ones have: whoever waited behind them would wait for ever."""
    stage = MediaStage(make_settings(media_threads=1), store)
    release, working = threading.Event(), threading.Event()
    decode = decoder.decode

    def blocking(job, settings, deadline):
        if len(job.data) > 1000:
            working.set()
            assert release.wait(60)
        return decode(job, settings, deadline)

    monkeypatch.setattr(decoder, "decode", blocking)
    large = [
        data_url(pictures.encoded(np.full((5000, 5000), level, np.uint8), "PNG"), "image/png") for level in range(3)
    ]
    tasks = [asyncio.create_task(stage.prepare(Modality.IMAGE, source, SPEC)) for source in large]
    try:
        await wait_for(working.is_set)
        small = [data_url(pictures.encoded(np.full((8, 8), level, np.uint8), "PNG")) for level in range(20)]
        for item in await asyncio.gather(*(stage.prepare(Modality.IMAGE, source, SPEC) for source in small)):
            assert item.shape == (8, 8, 3)
        assert not any(task.done() for task in tasks)
    finally:
        release.set()
    assert [item.shape for item in await asyncio.gather(*tasks)] == [(5000, 5000, 3)] * 3
    assert stage.memory.in_decode == 0
    await stage.aclose()


async def test_a_slow_store_holds_decoding_up_and_its_cancellation_lets_it_go(stage, store, samples, wait_for):
    release = asyncio.Event()

    async def slow(digest, payload, holder):
        await release.wait()

    store.put = slow
    tasks = [asyncio.create_task(stage.prepare(Modality.IMAGE, data_url(samples.image()), SPEC)) for _ in range(3)]
    await wait_for(lambda: stage.memory.in_decode >= 3 * 32 * 48)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    release.set()
    await asyncio.gather(*tasks[1:])
    assert stage.memory.in_decode == 0


async def test_gateways_share_a_redis_store(settings, samples, redis):
    stages = [MediaStage(settings, RedisMediaStore(redis, settings)) for _ in range(2)]
    source = data_url(samples.video(6), "video/mp4")
    items = [await stage.prepare(Modality.VIDEO, source, SPEC) for stage in stages]
    assert items[0] == items[1]
    header, frames = unpack(await RedisMediaStore(redis, settings).get(items[0].digest))
    assert header.metadata["total_num_frames"] == len(frames) == 6
    for stage in stages:
        await stage.aclose()


@pytest.mark.parametrize("with_audio", [False, True])
def test_estimates_grow_with_what_is_asked_for(samples, settings, with_audio):
    data = samples.video(3)
    job = DecodeJob(Modality.VIDEO, Kind(Modality.VIDEO, "video/mp4", "mov"), data, SPEC, with_audio)
    assert measure(job, settings, Deadline()) >= 32 * settings.media_max_frame_pixels * 3
