"""The pages of a PDF are images to the model, in order, where the part stood."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace

import pytest

from loadtests.fuzz.pdf import pdf, square
from tessera.gateway.expansion import share_of
from tessera.local.samples import audio, image
from tessera.media import RedisMediaStore, digest_of, unpack
from tests.gateway.files import create, post_form, usual
from tests.gateway.prompts import announce
from tests.gateway.scripted import chat, sent
from tests.gateway.test_messages import MESSAGES, asking, error_of, passed
from tests.gateway.test_planning import CLIP, NANO, PICTURE, SOUND
from tests.gateway.test_responses import RESPONSES, answer
from tests.gateway.test_responses import asked as responded
from tests.gateway.test_visual_budget import of_model

COLOURS = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue"}
DATA = pdf([square(1, 0, 0), square(0, 1, 0), square(0, 0, 1)])
SAMPLING = {"video_sampling": "qwen2_vl"}
ONE = pdf([square(0, 1, 0)])
PATH = "messages[0].content[1]"


@pytest.fixture
def settings(settings, tmp_path):
    return settings.model_copy(update={"files_store_url": (tmp_path / "store").as_uri()})


@pytest.fixture
async def card(card, redis_client, settings):
    changes = {"limits": {"image": 6, "audio": 1}, "plan": NANO.to_json(), "media": SAMPLING}
    return await announce(redis_client, settings, replace(card, **changes))


def encoded(data):
    return base64.b64encode(data).decode()


def url_of(data, mime="application/pdf"):
    return f"data:{mime};base64,{encoded(data)}"


def document(data=DATA, **more):
    return {"type": "file", "file": {"file_data": url_of(data), "filename": "a.pdf"}, **more}


class Seen:
    """What a worker is asked, with the colours of what was painted."""

    def __init__(self, redis_client, settings):
        self._store = RedisMediaStore(redis_client, settings)

    async def of(self, content):
        """Texts as they are, and each picture as the colour of its square."""
        return [await self._told(part) for part in content]

    async def _told(self, part):
        url = None if isinstance(part, str) else part.get("image_url") or part.get("source")
        if url is None:
            return part if isinstance(part, str) else part["text"]
        found = digest_of(url["url"] if isinstance(url, dict) else url)
        _, pixels = unpack(bytes(await self._store.get(found)))
        return COLOURS.get(tuple(pixels[120, 60]) if pixels.shape[0] > 120 else None, "picture")


@pytest.fixture
def seen(redis_client, settings):
    return Seen(redis_client, settings)


async def queued(gateway, worker, *parts, **fields):
    async with asyncio.TaskGroup() as tasks:
        told = tasks.create_task(gateway.post(chat(worker.card.model, *parts, **fields)))
        lease = await worker.take()
        await worker.echo(lease)
    assert told.result().status == 200
    return sent(lease)["messages"][0]["content"]


async def refused(gateway, worker, *parts):
    told = await gateway.post(chat(worker.card.model, *parts))
    assert told.status == 400, told.body
    assert await worker.waiting() == 0
    return told.error


async def test_pages_stand_in_order_where_the_document_stood(gateway, worker, seen):
    content = await queued(gateway, worker, "Before", document(), "Between", PICTURE, document(ONE), "After")
    assert await seen.of(content) == ["Before", "red", "green", "blue", "Between", "picture", "green", "After"]
    assert all(set(part) == {"type", "image_url", "uuid"} for part in content[1:4])


SPELLINGS = {
    "data URL": lambda _: document(),
    "base64": lambda _: {"type": "file", "file": {"file_data": encoded(DATA)}},
    "of another type": lambda _: {"type": "file", "file": {"file_data": url_of(DATA, "application/octet-stream")}},
    "id": lambda i: {"type": "file", "file": {"file_id": i}},
    "input_file, data": lambda _: {"type": "input_file", "file_data": url_of(DATA), "filename": "a.pdf"},
    "input_file, id": lambda i: {"type": "input_file", "file_id": i},
}


@pytest.mark.parametrize("name", SPELLINGS)
async def test_every_spelling_of_a_chat(gateway, worker, seen, name):
    part = SPELLINGS[name](await create(gateway, DATA))
    assert await seen.of(await queued(gateway, worker, part, "What?")) == ["red", "green", "blue", "What?"]


@pytest.mark.parametrize("spelling", ["file_data", "file_id", "file_url"])
async def test_every_spelling_of_a_response(gateway, worker, media_server, seen, spelling):
    value = {
        "file_data": url_of(DATA),
        "file_id": await create(gateway, DATA),
        "file_url": media_server.serve("/a.pdf", DATA),
    }[spelling]
    content = [{"type": "input_file", spelling: value}, {"type": "input_text", "text": "What?"}]
    _, body = await responded(gateway, worker, input=[{"role": "user", "content": content}])
    [message] = body["input"]
    assert [part["type"] for part in message["content"]] == ["input_image"] * 3 + ["input_text"]
    assert await seen.of(message["content"]) == ["red", "green", "blue", "What?"]


async def test_an_address_may_lead_to_another_medium(gateway, worker, media_server):
    for path, data, kind in (("/a.png", image(), "input_image"), ("/a.wav", audio(), "input_file")):
        part = {"type": "input_file", "file_url": media_server.serve(path, data)}
        _, body = await responded(gateway, worker, input=[{"role": "user", "content": [part]}])
        [part] = body["input"][0]["content"]
        assert part["type"] == kind
        assert str(part.get("image_url") or part["file_url"]).startswith("tessera-media:")


@pytest.mark.parametrize("kind", ["base64", "url", "file"])
async def test_every_source_of_anthropics_documents(gateway, worker, media_server, seen, kind):
    source = {
        "base64": {"media_type": "application/pdf", "data": encoded(DATA)},
        "url": {"url": media_server.serve("/a.pdf", DATA)},
        "file": {"file_id": await create(gateway, DATA)},
    }[kind]
    block = {"type": "document", "source": {"type": kind, **source}, "title": "Title", "context": "Context"}
    body = await passed(gateway, worker, asking(worker, block, {"type": "text", "text": "What?"}))
    content = body["messages"][0]["content"]
    assert await seen.of(content) == ["Title\n\nContext", "red", "green", "blue", "What?"]
    assert {part["type"] for part in content} == {"text", "image"}


async def test_documents_that_a_tool_gave(gateway, worker, seen):
    block = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": encoded(DATA)}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "Here"}, block]}
    body = await passed(gateway, worker, asking(worker, result))
    assert await seen.of(body["messages"][0]["content"][0]["content"]) == ["Here", "red", "green", "blue"]


async def test_what_is_no_document_is_refused_as_one(gateway, worker):
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded(image())}
    told = await gateway.post(asking(worker, {"type": "document", "source": source}), MESSAGES)
    assert (told.status, error_of(told)["param"]) == (400, "messages[0].content[0]")
    assert "image/png" in error_of(told)["message"]


async def test_a_later_turn_sees_the_document_of_an_earlier_one(gateway, worker, seen):
    part = {"type": "input_file", "file_id": await create(gateway, DATA)}
    first, _ = await responded(gateway, worker, input=[{"role": "user", "content": [part]}])
    _, body = await responded(gateway, worker, input="And now?", previous_response_id=first)
    assert await seen.of(body["input"][0]["content"]) == ["red", "green", "blue"]
    assert body["input"][-1]["content"] in ("And now?", [{"type": "input_text", "text": "And now?"}])


async def test_pages_are_counted_and_kept_small_as_images_are(gateway, worker):
    body = chat(worker.card.model, "What?", document(max_visual_tokens=90), PICTURE)
    told = await gateway.post(body, "/v1/estimate")
    assert told.status == 200, told.body
    found = told.json
    assert found["exact"]
    assert [part["path"] for part in found["parts"]] == [PATH] * 3 + ["messages[0].content[2]"]
    assert [part["modality"] for part in found["parts"]] == ["image"] * 4
    assert all(part["tokens"] <= 30 for part in found["parts"][:3])
    whole = (await gateway.post(chat(worker.card.model, document()), "/v1/estimate")).json
    assert whole["prompt_tokens"] > found["parts"][0]["tokens"] * 3
    budget = await gateway.post({**body, "visual_token_budget": 80}, "/v1/estimate")
    assert sum(part["tokens"] for part in budget.json["parts"]) <= 80


async def test_a_document_is_painted_once(gateway, worker):
    before = await gateway.metric("tessera_media_pages_total")
    first = await queued(gateway, worker, document())
    file_id = await create(gateway, DATA)
    for part in (document(), {"type": "file", "file": {"file_id": file_id}}):
        assert await queued(gateway, worker, part) == first
    assert await gateway.metric("tessera_media_pages_total") == before + 3


async def test_a_video_takes_the_room_that_pages_leave(gateway, worker, seen):
    content = await queued(gateway, worker, CLIP, document())
    assert (await seen.of(content))[-3:] == ["red", "green", "blue"]
    assert [part["type"] for part in content].count("image_url") == 6


async def test_more_pages_than_the_model_takes_are_not_painted(gateway, worker):
    before = await gateway.metric("tessera_media_pages_total")
    error = await refused(gateway, worker, PICTURE, document(pdf([b""] * 6)))
    assert (error["code"], error["param"]) == ("too_many_media_parts", PATH)
    assert "6 page(s)" in error["message"]
    assert "at most 6" in error["message"]
    assert (await refused(gateway, worker, document(), document(), PICTURE))["param"] == PATH
    assert await gateway.metric("tessera_media_pages_total") == before + 3


async def test_what_cannot_be_read_is_named(gateway, worker, start_gateway, settings):
    damaged = pdf([b"", b""]).replace(b"/Count 2", b"/Count 3")
    for data, code, why in (
        (DATA[:60], "media_decode_failed", "damaged"),
        (damaged, "media_decode_failed", "Page 3: "),
        (pdf([]), "media_decode_failed", "damaged"),
    ):
        error = await refused(gateway, worker, "x", document(data))
        assert (error["code"], error["param"]) == (code, PATH)
        assert why in error["message"]
    few = await start_gateway(settings.model_copy(update={"media_max_pages": 2}))
    error = await refused(few, worker, "x", document())
    assert (error["code"], error["param"]) == ("media_too_large", PATH)
    small = await start_gateway(settings.model_copy(update={"media_max_bytes": 100}))
    assert (await refused(small, worker, "x", document()))["code"] == "media_too_large"


async def test_a_model_without_eyes(gateway, worker):
    await of_model(gateway, worker, NANO.to_json(), limits={})
    error = await refused(gateway, worker, "x", document())
    assert (error["code"], error["param"]) == ("unsupported_modality", PATH)


async def test_a_document_is_no_image_part(gateway, worker):
    file_id = await create(gateway, DATA)
    for value in ({"url": url_of(DATA)}, {"file_id": file_id}):
        error = await refused(gateway, worker, "x", {"type": "image_url", "image_url": value})
        assert (error["code"], error["param"]) == ("media_type_mismatch", PATH)
        assert "PDF" in error["message"]
    error = await refused(gateway, worker, "x", document(subtitles="1\n00:00:00,000 --> 00:00:01,000\nA\n"))
    assert error["param"] == PATH


async def test_others_keep_their_names_behind_a_document(gateway, worker):
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert (await refused(gateway, worker, document(), "x", broken))["param"] == "messages[0].content[2]"
    assert (await refused(gateway, worker, document(), SOUND, SOUND))["param"] == "messages[0].content[2]"


async def test_a_document_that_nobody_waits_for_is_let_go(gateway, worker, media_server):
    blocked = {"type": "document", "source": {"type": "url", "url": "http://169.254.169.254/a.pdf"}}
    told = await gateway.post(asking(worker, blocked), MESSAGES)
    assert (told.status, error_of(told)["param"]) == (400, "messages[0].content[0]")


async def test_documents_of_responses_in_the_background(gateway, worker, seen):
    body = {"model": worker.card.model, "input": [{"role": "user", "content": [document()]}], "background": True}
    told = await gateway.post(body, RESPONSES)
    assert told.status == 200
    lease = await worker.take()
    assert await seen.of(sent(lease)["input"][0]["content"]) == ["red", "green", "blue"]
    await answer(worker, lease)


PNG = url_of(image(), "image/png")
BADGE = "![a badge](./badge.svg)"
MARKDOWN = (
    f"# Title\r\n\r\nFirst ![a square]({PNG}) second `![no]({PNG})`\r\n\r\n> ![b][b]\r\n\r\n{BADGE}\n\n[b]: {PNG}\n"
)
TOLD = [
    "# Title\n\nFirst ",
    "picture",
    f" second `![no]({PNG})`\n\n> ",
    "picture",
    f"\n\n{BADGE}\n\n[b]: \n",
]


@pytest.mark.parametrize("name", ["mime", "filename", "id"])
async def test_markdown_is_its_text_and_its_images_in_their_order(gateway, worker, seen, name):
    data = MARKDOWN.encode()
    file = {
        "mime": {"file_data": url_of(data, "text/markdown")},
        "filename": {"file_data": encoded(data), "filename": "README.md"},
        "id": {"file_id": (await post_form(gateway, usual(data, filename="a.MD"))).json["id"]},
    }[name]
    content = await queued(gateway, worker, "Before", {"type": "file", "file": file}, PICTURE, "After")
    assert await seen.of(content) == ["Before", *TOLD, "picture", "After"]


async def test_other_texts_stay_as_they_are(gateway, worker):
    text = MARKDOWN.replace("\r\n", "\n")
    for kind in ("text/plain", "text/csv", "application/octet-stream"):
        part = {"type": "file", "file": {"file_data": url_of(text.encode(), kind), "filename": "a.txt"}}
        [content] = await queued(gateway, worker, part)
        assert content == {"type": "text", "text": text}
    part = {"type": "file", "file": {"file_data": url_of(b"\xef\xbb\xbfA,B\n1,2"), "filename": "a.csv"}}
    assert await queued(gateway, worker, part) == [{"type": "text", "text": "A,B\n1,2"}]


async def test_markdown_by_its_address_and_its_images_by_theirs(gateway, worker, media_server, seen):
    picture = media_server.serve("/a.png", image())
    text = f"One ![a]({picture}) two"
    part = {"type": "input_file", "file_url": media_server.serve("/a.md", text.encode())}
    _, body = await responded(gateway, worker, input=[{"role": "user", "content": [part]}])
    content = body["input"][0]["content"]
    assert [part["type"] for part in content] == ["input_text", "input_image", "input_text"]
    assert await seen.of(content) == ["One ", "picture", " two"]


@pytest.mark.parametrize("kind", ["text", "base64", "url", "file"])
async def test_markdown_of_anthropics(gateway, worker, media_server, seen, kind):
    data = MARKDOWN.encode()
    source = {
        "text": {"media_type": "text/markdown", "data": MARKDOWN},
        "base64": {"media_type": "text/markdown", "data": encoded(data)},
        "url": {"url": media_server.serve("/a.md", data)},
        "file": {"file_id": (await post_form(gateway, usual(data, filename="a.md"))).json["id"]},
    }[kind]
    block = {"type": "document", "source": {"type": kind, **source}, "title": "Title"}
    content = (await passed(gateway, worker, asking(worker, block)))["messages"][0]["content"]
    assert await seen.of(content) == [f"Title\n\n{TOLD[0]}", *TOLD[1:]]


async def test_a_model_without_eyes_reads_texts(gateway, worker):
    await of_model(gateway, worker, NANO.to_json(), limits={})
    part = {"type": "file", "file": {"file_data": encoded(b"A story."), "filename": "a.md"}}
    assert await queued(gateway, worker, part, "What?") == [{"type": "text", "text": "A story."}, "What?"]
    part = {"type": "file", "file": {"file_data": encoded(MARKDOWN.encode()), "filename": "a.md"}}
    assert (await refused(gateway, worker, "x", part))["code"] == "unsupported_modality"


async def test_what_is_wrong_with_an_image_in_markdown_is_named(gateway, worker, start_gateway, settings):
    def part(text):
        return {"type": "file", "file": {"file_data": encoded(text.encode()), "filename": "a.md"}}

    for url, code in (
        ("data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=", "media_type_mismatch"),
        ("data:image/png;base64,AAAA", "media_type_mismatch"),
        ("data:image/png,AAAA", "invalid_media"),
        ("http://169.254.169.254/a.png", "media_fetch_blocked"),
    ):
        strict = await start_gateway(settings.model_copy(update={"media_allow_private_networks": False}))
        error = await refused(strict, worker, "x", part(f"![a]({PNG}) ![b]({url})"))
        assert (error["code"], error["param"]) == (code, PATH)
        assert error["message"].startswith("Image 2 of the document: ")
    error = await refused(gateway, worker, "x", part(f"![a]({PNG}) " * 7))
    assert (error["code"], error["param"]) == ("too_many_media_parts", PATH)
    small = await start_gateway(settings.model_copy(update={"media_max_text_bytes": 10}))
    assert (await refused(small, worker, "x", part("A long story.")))["code"] == "media_too_large"


async def test_an_estimate_counts_the_text_and_the_images_of_markdown(gateway, worker):
    part = {"type": "file", "file": {"file_data": encoded(MARKDOWN.encode()), "filename": "a.md"}}
    found = (await gateway.post(chat(worker.card.model, part), "/v1/estimate")).json
    assert found["exact"]
    assert [part["path"] for part in found["parts"]] == ["messages[0].content[0]"] * 2
    assert found["text"]["tokens"] > 20


@pytest.mark.parametrize(
    ("most", "share"), [(90, 30), (90.0, 30), (2, 1), (0, 0), (90.5, 90.5), (True, True), ("90", "90"), (None, None)]
)
def test_pages_share_what_their_document_may_be(most, share):
    found = share_of(most, 3)
    assert (found, type(found)) == (share, type(share))
