from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from prometheus_client import REGISTRY

from tessera.errors import InvalidMedia, MediaStoreUnavailable, Unavailable, UnsupportedPart
from tessera.media import URL_SCHEME, MemoryMediaStore, Modality, RedisMediaStore, pack
from tessera.worker import connector
from tessera.worker.connector import MediaReader
from tessera.worker.scored_media import ScoredMedia


class Store(MemoryMediaStore):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def get(self, digest: str) -> bytes | None:
        self.asked.append(digest)
        await asyncio.sleep(0)
        return await super().get(digest)

    async def add(self, payload: bytes) -> str:
        digest = hashlib.sha256(payload).hexdigest()
        await self.put(digest, payload, "request")
        return URL_SCHEME + digest


def reads(source: str) -> float:
    return REGISTRY.get_sample_value("tessera_worker_media_reads_total", {"source": source}) or 0


def image(value: int, side: int = 10) -> bytes:
    return pack(np.full((side, side, 3), value, np.uint8), Modality.IMAGE, {"n": value})


async def test_an_item_is_read_from_the_store_and_then_from_memory() -> None:
    store = Store()
    url = await store.add(image(7))
    reader = MediaReader(store)
    for _ in range(3):
        array, metadata = await reader.read(url, Modality.IMAGE)
        assert (array == 7).all()
        assert metadata == {"n": 7}
    assert len(store.asked) == 1


async def test_the_memory_is_bounded_and_keeps_what_was_used_last() -> None:
    store = Store()
    size = len(image(0))
    urls = [await store.add(image(n)) for n in range(8)]
    reader = MediaReader(store, cache_bytes=4 * size)
    for url in urls[:4]:
        await reader.read(url, Modality.IMAGE)
    await reader.read(urls[0], Modality.IMAGE)
    await reader.read(urls[4], Modality.IMAGE)  # takes the place of 1
    store.asked.clear()
    for n in (0, 2, 3, 4):
        await reader.read(urls[n], Modality.IMAGE)
    assert store.asked == []
    await reader.read(urls[1], Modality.IMAGE)
    assert len(store.asked) == 1
    for url in urls * 3:
        await reader.read(url, Modality.IMAGE)
        assert sum(map(len, reader._cache.values())) <= 4 * size


async def test_items_that_are_asked_for_at_once_count_once() -> None:
    store = Store()
    size = len(image(0))
    url, *others = [await store.add(image(n)) for n in range(4)]
    reader = MediaReader(store, cache_bytes=4 * size)
    await asyncio.gather(*(reader.read(url, Modality.IMAGE) for _ in range(10)))
    for other in others:
        await reader.read(other, Modality.IMAGE)
    store.asked.clear()
    for known in (url, *others):
        await reader.read(known, Modality.IMAGE)
    assert store.asked == []


async def test_an_item_that_many_requests_ask_for_at_once_is_read_once_and_the_others_count_as_such() -> None:
    store = Store()
    url = await store.add(image(3))
    reader = MediaReader(store)
    before = {source: reads(source) for source in ("memory", "shared", "store")}
    answers = await asyncio.gather(*(reader.read(url, Modality.IMAGE) for _ in range(10)))
    assert all((array == 3).all() for array, _ in answers)
    await reader.read(url, Modality.IMAGE)
    assert len(store.asked) == 1
    grown = {source: reads(source) - before[source] for source in before}
    assert grown == {"store": 1, "shared": 9, "memory": 1}
    assert REGISTRY.get_sample_value("tessera_worker_media_kept_bytes") == len(image(3))


async def test_a_request_that_leaves_takes_nothing_from_those_that_read_the_same() -> None:
    store = Store()
    url = await store.add(image(3))
    reader = MediaReader(store)
    first, second = (asyncio.create_task(reader.read(url, Modality.IMAGE)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    array, _ = await second
    assert (array == 3).all()
    assert len(store.asked) == 1


async def test_an_error_of_the_store_is_everybodys_and_not_remembered() -> None:
    store = Store()
    url = await store.add(image(3))
    reader, get = MediaReader(store), store.get

    async def fail(digest: str) -> bytes | None:
        await asyncio.sleep(0)
        raise MediaStoreUnavailable("It cannot be reached.")

    store.get = fail  # type: ignore[method-assign]
    failed = await asyncio.gather(*(reader.read(url, Modality.IMAGE) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in failed] == [MediaStoreUnavailable] * 3
    store.get = get  # type: ignore[method-assign]
    assert await reader.read(url, Modality.IMAGE)


async def test_an_item_that_would_fill_the_memory_is_not_kept() -> None:
    store = Store()
    url = await store.add(image(1))
    reader = MediaReader(store, cache_bytes=len(image(1)) * 2)
    await reader.read(url, Modality.IMAGE)
    await reader.read(url, Modality.IMAGE)
    assert len(store.asked) == 2


async def test_what_expired_wrong_and_foreign_references_say() -> None:
    store = Store()
    reader = MediaReader(store)
    with pytest.raises(Unavailable):
        await reader.read(URL_SCHEME + "0" * 64, Modality.IMAGE)
    url = await store.add(image(1))
    for modality in (Modality.AUDIO, Modality.VIDEO):
        with pytest.raises(InvalidMedia):
            await reader.read(url, modality)
    for foreign in ("https://example.com/x.png", "file:///etc/passwd", URL_SCHEME + "short"):
        with pytest.raises(InvalidMedia):
            await reader.read(foreign, Modality.IMAGE)


async def test_the_sound_of_a_video_is_read_by_its_url() -> None:
    store = Store()
    sound = await store.add(pack(np.ones(50, np.float32), Modality.AUDIO, {"sample_rate": 16000}))
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    video = await store.add(pack(frames, Modality.VIDEO, {"audio_digest": sound.removeprefix(URL_SCHEME)}))
    reader = MediaReader(store)
    samples, metadata = await reader.read(video, Modality.AUDIO)
    assert samples.shape == (50,)
    assert metadata["sample_rate"] == 16000
    assert (await reader.read(video, Modality.VIDEO))[0].shape == (2, 4, 4, 3)


@pytest.mark.parametrize("outside", [False, True])
async def test_a_large_item_comes_whole_from_wherever_it_was_put(redis_client, settings, tmp_path, outside) -> None:
    where = {"media_store_url": tmp_path.as_uri(), "media_redis_max_item_bytes": 0} if outside else {}
    gateway, worker = (RedisMediaStore(redis_client, settings.model_copy(update=where)) for _ in range(2))
    samples = np.arange(3 << 20, dtype=np.float32)
    payload = pack(samples, Modality.AUDIO, {"sample_rate": 16000})
    digest = hashlib.sha256(payload).hexdigest()
    await gateway.put(digest, payload, "request")
    reader = MediaReader(worker)
    for _ in range(2):
        array, metadata = await reader.read(URL_SCHEME + digest, Modality.AUDIO)
        assert (array == samples).all()
        assert not array.flags.writeable
        assert metadata == {"sample_rate": 16000}
    assert bool(list(tmp_path.rglob(f"{digest}*"))) == outside
    gateway.release("request")
    await gateway.settle()


class Registry:
    """As vLLM's: it keeps what is registered under a name."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[type], type]:
        return lambda kept: self.kept.setdefault(name, kept)


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.VIDEO, Modality.AUDIO])
async def test_threads_of_vllm_get_what_its_loop_gets(monkeypatch: pytest.MonkeyPatch, modality: Modality) -> None:
    store, registry = Store(), Registry()
    names = {"MediaConnector": object, "MEDIA_CONNECTOR_REGISTRY": registry}
    monkeypatch.setattr(connector, "vllm_name", names.__getitem__)
    connector.install_connector(MediaReader(store), allow_urls=False)
    installed = registry.kept[connector.NAME]()
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    array = {Modality.IMAGE: pixels, Modality.VIDEO: pixels[None], Modality.AUDIO: np.ones(9, np.float32)}[modality]
    url = await store.add(pack(array, modality, {"sample_rate": 16_000}))
    awaited = await getattr(installed, f"fetch_{modality}_async")(url)
    waited = await asyncio.to_thread(getattr(installed, f"fetch_{modality}"), url)
    for one, other in zip(*([each] if modality is Modality.IMAGE else each for each in (awaited, waited)), strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()
    with pytest.raises(Unavailable):
        await asyncio.to_thread(getattr(installed, f"fetch_{modality}"), URL_SCHEME + "0" * 64)
    with pytest.raises(UnsupportedPart):
        getattr(installed, f"fetch_{modality}")(url)


async def test_what_is_at_hand_is_read_in_vllms_loop_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    store, registry = Store(), Registry()
    names = {"MediaConnector": object, "MEDIA_CONNECTOR_REGISTRY": registry}
    monkeypatch.setattr(connector, "vllm_name", names.__getitem__)
    reader = MediaReader(store, cache_bytes=0)
    connector.install_connector(reader, allow_urls=False)
    installed = registry.kept[connector.NAME]()
    url, other, gone = await store.add(image(7)), await store.add(image(8)), URL_SCHEME + "0" * 64
    answers: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def within() -> None:
            answers.append(int(np.asarray(installed.fetch_image(url))[0, 0, 0]))
            with pytest.raises(Unavailable):
                installed.fetch_image(gone)
            with pytest.raises(UnsupportedPart):
                installed.fetch_image(other)

        await asyncio.gather(within(), within())

    parts = [{"type": "image_url", "image_url": {"url": each}} for each in (url, gone)]
    body = orjson.dumps({"model": "m", "query": "x", "documents": ["y", {"content": parts}, {"content": "z"}]})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "path": "/rerank", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    await ScoredMedia(app, reader)(scope, receive, receive)
    assert answers == [7, 7]
    assert store.asked.count(url.removeprefix(URL_SCHEME)) == 1
    with pytest.raises(UnsupportedPart):
        installed.fetch_image(url)
