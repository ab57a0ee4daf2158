"""``/v1/uploads``, from a client's side."""

from __future__ import annotations

import asyncio
import hashlib
import os

import openai
import pytest

from tests.gateway.files import ask, file_part, form, post_form
from tests.gateway.scripted import Answer

MIB = 1024 * 1024
ANNOUNCED = {"bytes": 6, "filename": "../a.bin", "mime_type": "x/y", "purpose": "user_data"}


@pytest.fixture
def settings(settings, tmp_path):
    return settings.model_copy(update={"files_store_url": (tmp_path / "store").as_uri(), "files_max_bytes": 80 * MIB})


async def post(gateway, path, body, headers=None) -> Answer:
    return await ask(gateway, "POST", f"/v1/uploads{path}", headers, json=body)


async def announce(gateway, **fields):
    answer = await post(gateway, "", {**ANNOUNCED, **fields})
    assert answer.status == 200, answer.body
    return answer.json


async def send(gateway, upload, data):
    return await post_form(gateway, form(file_part(data, name="data")), f"/v1/uploads/{upload['id']}/parts")


async def test_an_upload_as_openai_has_it(gateway):
    upload = await announce(gateway, expires_after={"anchor": "created_at", "seconds": 3600})
    assert set(upload) == {
        "id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "file",
    }  # fmt: skip
    assert (upload["object"], upload["status"], upload["filename"], upload["file"]) == (
        "upload",
        "pending",
        "a.bin",
        None,
    )
    assert upload["expires_at"] == upload["created_at"] + 3600
    parts = [(await send(gateway, upload, data)).json for data in (b"def", b"abc")]
    assert [(part["object"], part["upload_id"]) for part in parts] == [("upload.part", upload["id"])] * 2
    order = {"part_ids": [parts[1]["id"], parts[0]["id"]], "md5": hashlib.md5(b"abcdef").hexdigest()}
    done = (await post(gateway, f"/{upload['id']}/complete", order)).json
    assert (done["id"], done["status"], done["file"]["bytes"]) == (upload["id"], "completed", 6)
    assert done["file"]["expires_at"] == done["file"]["created_at"] + 3600
    assert (await ask(gateway, "GET", f"/v1/files/{done['file']['id']}/content")).body == b"abcdef"
    assert (await post(gateway, f"/{upload['id']}/complete", order)).json == done


async def test_openais_client(gateway, tmp_path):
    data = os.urandom(3 * MIB + 5)
    path = tmp_path / "large.bin"
    path.write_bytes(data)
    md5 = hashlib.md5(data).hexdigest()
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        known = {"mime_type": "x/y", "purpose": "user_data", "md5": md5}
        done = await client.uploads.upload_file_chunked(file=path, part_size=MIB, **known)
        assert (done.status, done.file.bytes, done.file.filename) == ("completed", len(data), "large.bin")
        assert (await client.files.content(done.file.id)).content == data
        upload = await client.uploads.create(bytes=1, filename="a", mime_type="x/y", purpose="batch")
        part = await client.uploads.parts.create(upload.id, data=b"x")
        assert (await client.uploads.cancel(upload.id)).status == "cancelled"
        with pytest.raises(openai.BadRequestError) as refused:
            await client.uploads.complete(upload.id, part_ids=[part.id])
    assert refused.value.code in ("upload_not_pending", "invalid_upload")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"bytes": 0}, 400, "invalid_value", "bytes"),
        ({"bytes": 1.5}, 400, "invalid_value", "bytes"),
        ({"bytes": True}, 400, "invalid_value", "bytes"),
        ({"bytes": None}, 400, "invalid_value", "bytes"),
        ({"bytes": 80 * MIB + 1}, 413, "file_too_large", "bytes"),
        ({"bytes": 10**18}, 413, "file_too_large", "bytes"),
        ({"filename": None}, 400, "missing_required_parameter", "filename"),
        ({"filename": 5}, 400, "invalid_value", "filename"),
        ({"filename": "a\0"}, 400, "invalid_multipart", "filename"),
        ({"filename": "\ud800"}, 400, None, None),
        ({"mime_type": None}, 400, "missing_required_parameter", "mime_type"),
        ({"mime_type": "x" * 300}, 400, "invalid_value", "mime_type"),
        ({"purpose": "fun"}, 400, "invalid_value", "purpose"),
        ({"purpose": []}, 400, "invalid_value", "purpose"),
        ({"purpose": None}, 400, "missing_required_parameter", "purpose"),
        ({"expires_after": 5}, 400, "invalid_value", "expires_after"),
        ({"expires_after": {}}, 200, None, None),
        ({"expires_after": {"anchor": "x", "seconds": 1}}, 400, "invalid_value", "expires_after.anchor"),
        ({"expires_after": {"anchor": "created_at", "seconds": True}}, 400, "invalid_value", "expires_after.seconds"),
    ],
)
async def test_what_is_announced_is_checked(gateway, fields, status, code, param):
    answer = await post(gateway, "", {**ANNOUNCED, **fields})
    assert answer.status == status
    assert code is None or (answer.error["code"], answer.error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("order", "param"),
    [
        ({}, "part_ids"),
        ({"part_ids": "x"}, "part_ids"),
        ({"part_ids": [5]}, "part_ids"),
        ({"part_ids": ["x"]}, "part_ids[0]"),
        ({"part_ids": []}, "part_ids"),
        ({"part_ids": [], "md5": "x"}, "md5"),
        ({"part_ids": [], "md5": 5}, "md5"),
    ],
)
async def test_an_order_that_cannot_be(gateway, order, param):
    upload = await announce(gateway)
    answer = await post(gateway, f"/{upload['id']}/complete", order)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_bodies_are_small_json(gateway):
    for body, status in ((b"[]", 400), (b"{", 400), (b'{"x": "' + b"x" * 300_000 + b'"}', 413)):
        answer = await ask(gateway, "POST", "/v1/uploads", {"Content-Type": "application/json"}, data=body)
        assert answer.status == status
    assert (await ask(gateway, "POST", "/v1/uploads", data=b"{}")).status == 415


async def test_a_part_larger_than_was_announced(gateway):
    upload = await announce(gateway)
    answer = await send(gateway, upload, b"x" * 7)
    assert (answer.status, answer.error["code"]) == (413, "file_too_large")
    assert (await send(gateway, upload, b"x" * 6)).status == 200


async def test_a_part_of_more_than_64_mib(gateway):
    upload = await announce(gateway, bytes=70 * MIB)
    answer = await send(gateway, upload, b"x" * (64 * MIB + 1))
    assert (answer.status, answer.error["code"]) == (413, "file_too_large")


async def test_an_upload_is_there_for_its_tenant_alone(start_gateway, settings, worker, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice sk-alice\nbob sk-bob\n")
    gateway = await start_gateway(settings.model_copy(update={"api_keys_file": keys}))
    alice, bob = ({"Authorization": f"Bearer sk-{name}"} for name in ("alice", "bob"))
    upload = (await post(gateway, "", ANNOUNCED, alice)).json
    path = f"/v1/uploads/{upload['id']}"
    answers = [
        await post_form(gateway, form(file_part(b"x", name="data")), f"{path}/parts", bob),
        await post(gateway, f"/{upload['id']}/complete", {"part_ids": []}, bob),
        await post(gateway, f"/{upload['id']}/cancel", {}, bob),
    ]
    assert [(answer.status, answer.error["code"]) for answer in answers] == [(404, "upload_not_found")] * 3
    assert (await post(gateway, f"/{upload['id']}/cancel", {}, alice)).status == 200


async def test_parts_at_once_through_two_gateways(start_gateway, settings, worker):
    gateways = [await start_gateway(settings) for _ in range(2)]
    upload = await announce(gateways[0], bytes=20)
    pieces = [bytes([n]) * 2 for n in range(10)]
    answers = await asyncio.gather(*(send(gateways[n % 2], upload, piece) for n, piece in enumerate(pieces)))
    order = {"part_ids": [answer.json["id"] for answer in answers]}
    done = (await post(gateways[1], f"/{upload['id']}/complete", order)).json
    assert (await ask(gateways[0], "GET", f"/v1/files/{done['file']['id']}/content")).body == b"".join(pieces)
