"""What an operator sees of each stage that media goes through."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tessera.local.samples import audio, image, video
from tests.gateway.scripted import chat
from tests.polling import eventually

FILES = {"image": image(), "video": video(), "audio": audio()}
STAGES = ("decode_seconds_count", "store_seconds_count", "cache_misses_total")
BYTES = ("decoded_bytes_total", "stored_bytes_total")


def inline(modality):
    data = base64.b64encode(FILES[modality]).decode()
    url = f"data:application/octet-stream;base64,{data}"
    return {"type": f"{modality}_url", f"{modality}_url": {"url": url}}


@pytest.fixture
def moved(gateway):
    """How much a metric has grown since it was read last."""
    before = {}

    async def read(name, **labels):
        key = (name, *labels.items())
        now = await gateway.metric(f"tessera_media_{name}", **labels)
        grown, before[key] = now - before.get(key, 0), now
        return grown

    return read


@pytest.mark.parametrize("modality", list(FILES))
async def test_an_upload_moves_the_metrics_of_each_stage(gateway, worker, moved, modality):
    names = (*STAGES, *BYTES, "cache_hits_total", "encoded_bytes_total", "duration_seconds_total")
    for name in names:
        await moved(name, modality=modality)
    async with worker.serving(worker.echo):
        assert (await gateway.post(chat(worker.card.model, inline(modality)))).status == 200
        grown = {name: await moved(name, modality=modality) for name in names}
        assert {name: grown[name] for name in STAGES} == dict.fromkeys(STAGES, 1)
        assert grown["decoded_bytes_total"] == grown["stored_bytes_total"] > 1000
        assert grown["encoded_bytes_total"] == len(FILES[modality])
        assert grown["cache_hits_total"] == 0
        lasts_s = grown["duration_seconds_total"]
        assert lasts_s == 0 if modality == "image" else 0.5 < lasts_s < 60
        # Once more: it is known, and nothing is done.
        assert (await gateway.post(chat(worker.card.model, inline(modality)))).status == 200
    grown = {name: await moved(name, modality=modality) for name in names}
    assert grown == {**dict.fromkeys(names, 0), "cache_hits_total": 1, "duration_seconds_total": pytest.approx(lasts_s)}


async def test_a_download_is_counted_with_its_host(gateway, worker, media_server, moved):
    part = {"type": "image_url", "image_url": {"url": media_server.serve("/a.png", FILES["image"])}}
    counts = [
        ("fetch_seconds_count", {"modality": "image"}),
        ("encoded_bytes_total", {"modality": "image", "source": "fetched"}),
        ("host_requests", {"host": "127.0.0.1"}),
    ]
    for name, labels in counts:
        await moved(name, **labels)
    async with worker.serving(worker.echo):
        assert (await gateway.post(chat(worker.card.model, part))).status == 200
    assert [await moved(name, **labels) for name, labels in counts] == [1, len(FILES["image"]), 1]
    assert await gateway.metric("tessera_media_host_seconds", host="127.0.0.1") > 0


BROKEN = {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,UklGRgAAAABXQVZF"}}
REFUSED = [
    ([BROKEN], "audio", "media_decode_failed"),
    ([{"type": "image_url", "image_url": "ftp://x/y"}], "image", "invalid_media"),
    ([{"type": "video_url", "video_url": {"url": "http://127.0.0.1:9/"}}], "video", "media_fetch_failed"),
    ([inline("image")] * 9, "image", "too_many_media_parts"),
    ([{"type": "file", "file": {"file_data": "AAAA"}}], "unknown", "media_type_mismatch"),
    ([{"type": "input_image", "file_id": "x"}], "image", "files_not_configured"),
]


@pytest.mark.parametrize(("parts", "modality", "code"), REFUSED)
async def test_refusals_are_counted_by_their_code_and_modality(gateway, worker, moved, parts, modality, code):
    labels = {"modality": modality, "code": code}
    await moved("errors_total", **labels)
    assert (await gateway.post(chat(worker.card.model, *parts))).status in (400, 501)
    assert await moved("errors_total", **labels) == 1


async def test_bytes_in_flight_are_shown_and_go_down_again(gateway, worker, media_server):
    async def held():
        return await gateway.metric("tessera_media_memory_bytes", use="encoded")

    url = media_server.slow("/slow.png", bytes(50_000))
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, {"type": "image_url", "image_url": url})))

    async def shown():
        return await held() == 50_000

    await eventually(shown, "the bytes that came are counted")
    asked.cancel()

    async def gone():
        return await held() == 0

    await eventually(gone, "nothing is held")
