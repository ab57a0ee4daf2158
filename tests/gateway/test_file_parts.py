"""Media that was uploaded before, in messages."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tessera.local.samples import audio, image, video
from tessera.media import digest_of, unpack
from tessera.media.redis_store import RedisMediaStore
from tests.gateway.files import ask, create, field, file_part, form, post_form
from tests.gateway.scripted import chat, sent
from tests.polling import eventually

ALICE, BOB = {"Authorization": "Bearer sk-alice"}, {"Authorization": "Bearer sk-bob"}
PATH = "messages[0].content[1]"


def encoded(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def settings(settings, tmp_path):
    return settings.model_copy(update={"files_store_url": (tmp_path / "store").as_uri()})


@pytest.fixture
def store(redis_client, settings):
    return RedisMediaStore(redis_client, settings)


async def arrives(gateway, worker, *parts, headers=None):
    """What the worker gets of these parts."""
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(chat(worker.card.model, *parts), headers=headers or {}))
        lease = await worker.take()
        await worker.echo(lease)
    assert asked.result().status == 200
    return sent(lease)["messages"][0]["content"]


async def refused(gateway, worker, part, headers=None):
    answer = await gateway.post(chat(worker.card.model, "text", part), headers=headers or {})
    assert answer.error["param"] == PATH
    return answer.status, answer.error["code"]


SPELLINGS = {
    "image_url": lambda i: {"type": "image_url", "image_url": {"file_id": i, "detail": "low"}},
    "image_url without a type": lambda i: {"image_url": {"file_id": i, "detail": "low"}},
    "file": lambda i: {"type": "file", "file": {"file_id": i, "file_data": None, "filename": "x"}, "detail": "low"},
    "input_file": lambda i: {"type": "input_file", "file_id": i, "detail": "low"},
    "input_image": lambda i: {"type": "input_image", "file_id": i, "image_url": None, "detail": "low"},
}


@pytest.mark.parametrize("name", SPELLINGS)
async def test_an_image_by_its_id(gateway, worker, store, name):
    [part] = await arrives(gateway, worker, SPELLINGS[name](await create(gateway, image())))
    digest = digest_of(part["image_url"]["url"])
    assert part == {
        "type": "image_url",
        "image_url": {"url": part["image_url"]["url"], "detail": "low"},
        "uuid": digest,
    }
    assert unpack(await store.get(digest))[1].size


@pytest.mark.parametrize(
    ("kind", "data"), [("image", image), ("video", video), ("audio", audio)], ids=["image", "video", "audio"]
)
@pytest.mark.parametrize("url", [False, True])
async def test_a_file_is_what_its_bytes_say(gateway, worker, kind, data, url):
    file_id = await create(gateway, data())
    inline = f"data:application/octet-stream;base64,{encoded(data())}" if url else encoded(data())
    parts = [
        {"type": "file", "file": {"file_id": file_id}},
        {"type": "file", "file": {"file_data": inline, "filename": "x.pdf"}},
    ]
    for part in parts:
        [came] = await arrives(gateway, worker, part)
        assert came["type"] == f"{kind}_url"


async def test_an_estimate_takes_ids_too(gateway, worker, worker_busy):
    part = SPELLINGS["file"](await create(gateway, image()))
    told = await gateway.post(chat(worker.card.model, part), "/v1/estimate")
    assert (told.status, [p["modality"] for p in told.json["parts"]]) == (200, ["image"])
    gone = await gateway.post(chat(worker.card.model, SPELLINGS["file"]("x")), "/v1/estimate")
    assert (gone.status, gone.error["code"]) == (404, "file_not_found")


async def test_other_parts_take_ids_too(gateway, worker):
    clip, sound = await create(gateway, video()), await create(gateway, audio())
    parts = [
        {"type": "video_url", "video_url": {"file_id": clip}},
        {"type": "audio_url", "audio_url": {"file_id": sound}},
    ]
    assert [part["type"] for part in await arrives(gateway, worker, *parts)] == ["video_url", "audio_url"]
    [part] = await arrives(gateway, worker, {"type": "input_audio", "input_audio": {"file_id": sound}})
    assert part["type"] == "audio_url"


async def test_input_image_takes_urls(gateway, worker):
    url = f"data:image/png;base64,{encoded(image())}"
    for given in (url, {"url": url, "detail": "high"}):
        [part] = await arrives(gateway, worker, {"type": "input_image", "image_url": given, "detail": "high"})
        assert (part["type"], part["image_url"]["detail"]) == ("image_url", "high")


async def test_a_file_is_read_once_and_used_often(gateway, worker):
    file_id = await create(gateway, image())
    part = SPELLINGS["file"](file_id)
    first = await arrives(gateway, worker, part)
    read = await gateway.metric("tessera_files_bytes_out_total")
    hits = await gateway.metric("tessera_media_cache_hits_total")
    for _ in range(3):
        assert await arrives(gateway, worker, part) == first
    # The same bytes under another id are the same.
    assert await arrives(gateway, worker, SPELLINGS["file"](await create(gateway, image()))) == first
    assert await gateway.metric("tessera_files_bytes_out_total") == read
    assert await gateway.metric("tessera_media_cache_hits_total") == hits + 4


async def test_a_file_that_is_not_there_any_more(gateway, worker):
    deleted = await create(gateway, image())
    await arrives(gateway, worker, SPELLINGS["file"](deleted))
    await ask(gateway, "DELETE", f"/v1/files/{deleted}")
    for file_id in (deleted, "file-" + "0" * 32, "x", "file-\0", "x" * 100_000):
        for spell in SPELLINGS.values():
            assert await refused(gateway, worker, spell(file_id)) == (404, "file_not_found")


async def test_a_file_whose_time_is_over(gateway, worker):
    brief = [field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "1")]
    body = form(field("purpose", "vision"), *brief, file_part(image()))
    file_id = (await post_form(gateway, body)).json["id"]

    async def over():
        return (await ask(gateway, "GET", f"/v1/files/{file_id}")).status == 404

    await eventually(over, "it is over")
    assert await refused(gateway, worker, SPELLINGS["file"](file_id)) == (404, "file_not_found")


async def test_another_tenants_file(start_gateway, settings, worker, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice sk-alice\nbob sk-bob\n")
    gateway = await start_gateway(settings.model_copy(update={"api_keys_file": keys}))
    part = SPELLINGS["file"](await create(gateway, image(), ALICE))
    assert await refused(gateway, worker, part, BOB) == (404, "file_not_found")
    assert (await arrives(gateway, worker, part, headers=ALICE))[0]["type"] == "image_url"


@pytest.mark.parametrize(
    ("data", "spell", "code"),
    [
        (b"hello\0", "file", "media_type_mismatch"),
        (b"", "file", "media_type_mismatch"),
        (b"%PDF-1.7", "file", "media_decode_failed"),
        (b"%PDF-1.7", "input_image", "media_type_mismatch"),
        (image()[:200], "file", "media_decode_failed"),
        (b"hello", "input_image", "media_type_mismatch"),
        (audio(), "input_image", "media_type_mismatch"),
    ],
)
async def test_a_file_that_is_no_such_medium(gateway, worker, data, spell, code):
    assert await refused(gateway, worker, SPELLINGS[spell](await create(gateway, data))) == (400, code)


@pytest.mark.parametrize(
    "data", ["", "hello", "!", "data:image/png;base64,", "data:,x", encoded(b"hello\0"), "é", "A%2"]
)
async def test_data_that_is_no_medium(gateway, worker, data):
    status, _ = await refused(gateway, worker, {"type": "file", "file": {"file_data": data}})
    assert status == 400


async def test_a_file_larger_than_media_may_be(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"media_max_bytes": 100}))
    part = SPELLINGS["file"](await create(gateway, image()))
    assert await refused(gateway, worker, part) == (400, "media_too_large")


async def test_more_files_than_the_model_takes_are_not_looked_for(gateway, worker):
    parts = [SPELLINGS["file"]("x")] * 129
    answer = await gateway.post(chat(worker.card.model, *parts))
    assert (answer.status, answer.error["code"]) == (400, "too_many_media_parts")


async def test_without_a_store(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"files_store_url": ""}))
    assert await refused(gateway, worker, SPELLINGS["file"]("x")) == (501, "files_not_configured")
    part = {"type": "file", "file": {"file_data": encoded(image())}}
    assert (await arrives(gateway, worker, part))[0]["type"] == "image_url"


async def test_a_part_of_another_api_is_refused_by_its_name(gateway, worker):
    for part, name in (
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}, "'image'"),
        ({"type": "image", "image": "https://x/"}, "'image'"),
        ({"type": "video", "video": "https://x/"}, "'video'"),
        ({"type": "document", "source": {}}, "'document'"),
        ({"type": "image_file", "image_file": {"file_id": "x"}}, "'image_file'"),
        ({"type": "image_embeds", "image_embeds": "x"}, "'image_embeds'"),
    ):
        error = (await gateway.post(chat(worker.card.model, "text", part))).error
        assert (error["code"], error["param"]) == ("unsupported_content_part", PATH)
        assert name in error["message"]
        assert "`image_url`" in error["message"] or "image_url, " in error["message"]


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "file"}, "missing_required_parameter"),
        ({"type": "file", "file": "x"}, "missing_required_parameter"),
        ({"type": "file", "file": {}}, "missing_required_parameter"),
        ({"type": "file", "file": {"file_id": "x", "file_data": "x"}}, "invalid_value"),
        ({"type": "file", "file": {"file_id": 5}}, "invalid_value"),
        ({"type": "file", "file": {"file_id": "x"}, "text": "x"}, "invalid_value"),
        ({"type": "input_file", "file_url": "https://x/", "file_id": "x"}, "invalid_value"),
        ({"type": "input_file", "file_url": "x"}, "invalid_media"),
        ({"type": "file", "file_url": "https://x/", "file": {"file_id": "x"}}, "invalid_value"),
        ({"type": "input_file"}, "missing_required_parameter"),
        ({"type": "input_image"}, "missing_required_parameter"),
        ({"type": "input_image", "image_url": {}}, "missing_required_parameter"),
        ({"type": "input_image", "image_url": "x", "file_id": "x"}, "invalid_value"),
        ({"type": "input_image", "file_data": "x"}, "invalid_value"),
        ({"type": "image_url", "image_url": {"url": "https://x/", "file_id": "x"}}, "invalid_value"),
        ({"type": "text", "text": "x", "file_id": "x"}, "invalid_value"),
    ],
)
async def test_a_part_that_does_not_say_what_it_is(gateway, worker, part, code):
    assert await refused(gateway, worker, part) == (400, code)
