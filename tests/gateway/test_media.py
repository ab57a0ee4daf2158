from __future__ import annotations

import asyncio
import base64

import pytest
from aiohttp import web

from tessera.local.samples import audio, image, video
from tessera.media import RedisMediaStore, digest_of, unpack
from tests.clips import video_with_sound
from tests.gateway.scripted import chat, sent
from tests.polling import eventually


def data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


PNG = data_url("image/png", image())
MP4 = data_url("video/mp4", video())
WAV = base64.b64encode(audio()).decode()


async def arrives(gateway, worker, *parts, **fields):
    """What the worker gets of these parts."""
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(chat(worker.card.model, *parts, **fields)))
        lease = await worker.take()
        await worker.echo(lease)
    assert asked.result().status == 200
    return sent(lease)["messages"][0]["content"]


@pytest.fixture
def store(redis_client, settings):
    return RedisMediaStore(redis_client, settings)


async def test_every_medium_becomes_a_reference_to_what_is_in_the_store(gateway, worker, store, media_server):
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}, "uuid": "mine"},
        {"type": "video_url", "video_url": {"url": MP4}},
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        "plain",
        {"image_url": {"url": media_server.serve("/a.png", image())}},
    ]
    text, picture, clip, sound, plain, fetched = await arrives(gateway, worker, *parts)
    assert (text, plain) == ({"type": "text", "text": "What is it?"}, "plain")
    assert picture["image_url"]["detail"] == "low"
    found = {}
    for part in (picture, clip, sound, fetched):
        kind = part["type"]
        assert set(part) == {"type", kind, "uuid"}
        digest = digest_of(part[kind]["url"])
        assert part["uuid"] == digest
        header, array = unpack(await store.get(digest))
        assert f"{header.modality}_url" == kind
        assert array.size
        found[kind] = header
    assert set(found) == {"image_url", "video_url", "audio_url"}
    # The same pixels are the same item, wherever they came from.
    assert fetched["uuid"] == picture["uuid"]


async def test_large_media_goes_where_the_operator_keeps_it(start_gateway, worker, settings, redis_client, tmp_path):
    where = {"media_store_url": tmp_path.as_uri(), "media_redis_max_item_bytes": 1000}
    elsewhere = settings.model_copy(update=where)
    gateway = await start_gateway(elsewhere)
    [part] = await arrives(gateway, worker, {"type": "video_url", "video_url": {"url": MP4}})
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    header, frames = unpack(await RedisMediaStore(redis_client, elsewhere).get(part["uuid"]))
    assert header.modality == "video"
    assert frames.any()


async def test_the_sound_of_a_video_is_stored_when_it_is_asked_for(gateway, worker, store):
    part = {"type": "video_url", "video_url": {"url": data_url("video/mp4", video_with_sound())}}
    [without] = await arrives(gateway, worker, part)
    [with_sound] = await arrives(gateway, worker, part, mm_processor_kwargs={"use_audio_in_video": True})
    headers = [unpack(await store.get(p["uuid"]))[0] for p in (without, with_sound)]
    assert ["audio_digest" in header.metadata for header in headers] == [False, True]
    _, samples = unpack(await store.get(headers[1].metadata["audio_digest"]))
    assert samples.size > 16_000


async def test_a_video_without_sound_whose_sound_is_asked_for_is_named(gateway, worker):
    parts = ["text", {"type": "video_url", "video_url": {"url": MP4}}]
    answer = await gateway.post(chat(worker.card.model, *parts, mm_processor_kwargs={"use_audio_in_video": True}))
    assert (answer.status, answer.error["code"]) == (400, "invalid_media")
    assert answer.error["param"] == "messages[0].content[1]"
    assert "use_audio_in_video" in answer.error["message"]


async def test_the_sound_of_a_video_counts_as_one(gateway, worker):
    parts = [
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        {"type": "video_url", "video_url": {"url": data_url("video/mp4", video_with_sound())}},
    ]
    answer = await gateway.post(chat(worker.card.model, *parts, mm_processor_kwargs={"use_audio_in_video": True}))
    assert (answer.status, answer.error["code"]) == (400, "too_many_media_parts")
    assert answer.error["param"] == "messages[0].content[1]"


async def test_the_sampling_of_a_video_is_up_to_the_request(gateway, worker, store):
    part = {"type": "video_url", "video_url": {"url": MP4}}
    [few] = await arrives(gateway, worker, part, media_io_kwargs={"video": {"num_frames": 2}})
    assert unpack(await store.get(few["uuid"]))[1].shape[0] == 2


@pytest.mark.parametrize("role", ["user", "system", "tool", "assistant"])
async def test_the_role_does_not_matter(gateway, worker, role):
    call = {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "look"}}]}
    message = {"role": role, "tool_call_id": "a", "content": [{"type": "image_url", "image_url": PNG}]}
    messages = [call, message]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post({"model": worker.card.model, "messages": messages}))
        lease = await worker.take()
        await worker.echo(lease)
    [part] = sent(lease)["messages"][1]["content"]
    assert digest_of(part["image_url"]["url"])


async def test_messages_of_a_completion_are_no_way_around(gateway, worker):
    body = chat(worker.card.model, {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/"}}, prompt="x")
    assert (await gateway.post(body, "/v1/completions")).error["code"] == "media_fetch_failed"


async def test_requests_that_wait_for_the_same_url_are_each_told_of_their_own_part(gateway, worker, media_server):
    asked, answer = asyncio.Event(), asyncio.Event()

    async def fail(request):
        asked.set()
        await answer.wait()
        return web.Response(status=404)

    media_server.handlers["/a.png"] = fail
    part = {"type": "image_url", "image_url": {"url": f"{media_server.url}/a.png"}}
    before = [["x"] * count for count in range(5)]
    requests = [asyncio.create_task(gateway.post(chat(worker.card.model, *texts, part))) for texts in before]
    await asked.wait()
    flights = gateway.app.state.services.stage._fetcher._flights._flights
    await eventually(lambda: [flight.passengers for flight in flights.values()] == [5], "all wait for it")
    answer.set()
    told = [answer.error["param"] for answer in await asyncio.gather(*requests)]
    assert told == [f"messages[0].content[{count}]" for count in range(5)]
    assert media_server.asked == ["/a.png"]


async def test_a_client_that_leaves_while_media_is_fetched(gateway, worker, media_server):
    url = media_server.hang("/a.png")
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, {"type": "image_url", "image_url": {"url": url}})))
    await eventually(lambda: media_server.asked == ["/a.png"], "the image is asked for")
    asked.cancel()
    await eventually(lambda: media_server.left == ["/a.png"], "the download is given up")

    async def counted():
        return await gateway.metric("tessera_requests_total", model=worker.card.model, status="499") == 1

    await eventually(counted, "the metric says 499")
    assert await worker.waiting() == 0


@pytest.mark.parametrize(
    ("limit", "kind", "data"),
    [("media_max_video_s", "video", MP4), ("media_max_audio_s", "audio", data_url("audio/wav", audio()))],
)
async def test_media_that_is_too_long(start_gateway, settings, worker, limit, kind, data):
    gateway = await start_gateway(settings.model_copy(update={limit: 0.05}))
    reply = await gateway.post(chat(worker.card.model, {"type": f"{kind}_url", f"{kind}_url": {"url": data}}))
    assert (reply.status, reply.error["code"]) == (400, "media_too_long")
    assert reply.error["param"] == "messages[0].content[0]"
    assert "0.05 s" in reply.error["message"]


async def test_a_decoding_that_takes_too_long_is_told_as_a_limit_of_the_server(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"media_decode_timeout_s": 1e-6}))
    reply = await gateway.post(chat(worker.card.model, {"type": "video_url", "video_url": {"url": MP4}}))
    assert (reply.status, reply.error["code"]) == (400, "media_decode_timeout")
    assert "TESSERA_MEDIA_DECODE_TIMEOUT_S" in reply.error["message"]
    assert reply.error["param"] == "messages[0].content[0]"
