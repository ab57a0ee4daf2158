"""``/v1/files``, from a client's side: also one that sends what no client should."""

from __future__ import annotations

import asyncio
import json
import os
import time

import aiohttp
import openai
import pytest
from structlog.testing import capture_logs

from tests.gateway.files import BOUNDARY, TYPE, ask, create, field, file_part, form, part, post_form, usual
from tests.gateway.process import gateway_process
from tests.gateway.raw import connected
from tests.polling import eventually

ALICE, BOB = {"Authorization": "Bearer sk-alice"}, {"Authorization": "Bearer sk-bob"}
MIB = 1024 * 1024


@pytest.fixture
def settings(settings, tmp_path):
    return settings.model_copy(update={"files_store_url": (tmp_path / "store").as_uri(), "files_max_bytes": 3 * MIB})


@pytest.fixture
def stored(tmp_path):
    """The names of all that is in the store, also what is still coming."""

    def names():
        return sorted(name for _, _, some in os.walk(tmp_path / "store") for name in some)

    return names


async def listed(gateway, headers=None):
    answer = await ask(gateway, "GET", "/v1/files", headers)
    assert answer.status == 200
    return [file["id"] for file in answer.json["data"]]


async def test_a_file_as_openai_has_it(gateway):
    before = int(time.time())
    after = [field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "3600")]
    answer = await post_form(gateway, form(field("purpose", "vision"), *after, file_part(b"hello", filename="ä b.txt")))
    file = answer.json
    assert (answer.status, set(file)) == (
        200, {"id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status"},
    )  # fmt: skip
    assert (file["object"], file["bytes"], file["filename"]) == ("file", 5, "ä b.txt")
    assert (file["purpose"], file["status"]) == ("vision", "processed")
    assert before <= file["created_at"] == file["expires_at"] - 3600
    path = f"/v1/files/{file['id']}"
    assert (await ask(gateway, "GET", path)).json == file
    content = await ask(gateway, "GET", f"{path}/content")
    assert (content.status, content.body) == (200, b"hello")
    assert content.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A4%20b.txt"
    assert content.headers["Content-Type"] == "application/octet-stream"
    assert content.headers["X-Content-Type-Options"] == "nosniff"
    assert (await ask(gateway, "DELETE", path)).json == {"id": file["id"], "object": "file", "deleted": True}
    for method, rest in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        gone = await ask(gateway, method, path + rest)
        assert (gone.status, gone.error["code"]) == (404, "file_not_found")


async def test_openais_client(gateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        files = []
        for number in range(5):
            content = (f"{number}.txt", b"%d" % number)
            files.append(await client.files.create(file=content, purpose="user_data"))
            await asyncio.sleep(0.002)
        assert await client.files.retrieve(files[0].id) == files[0]
        assert [file.id async for file in client.files.list(limit=2, order="asc")] == [file.id for file in files]
        assert (await client.files.content(files[3].id)).content == b"3"
        # Each page while the one before is deleted.
        async for file in client.files.list(limit=2):
            assert (await client.files.delete(file.id)).deleted
        assert [file async for file in client.files.list()] == []
        brief = {"anchor": "created_at", "seconds": 3600}
        file = await client.files.create(file=b"x", purpose="vision", expires_after=brief)
        assert (file.expires_at, file.filename) == (file.created_at + 3600, "upload")


async def test_without_a_store_the_setting_is_named(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"files_store_url": ""}))
    for method, path in (
        ("POST", "/v1/files"), ("GET", "/v1/files"), ("GET", "/v1/files/x"), ("GET", "/v1/files/x/content"),
        ("DELETE", "/v1/files/x"), ("POST", "/v1/uploads"), ("POST", "/v1/uploads/x/parts"),
        ("POST", "/v1/uploads/x/complete"), ("POST", "/v1/uploads/x/cancel"),
    ):  # fmt: skip
        answer = await ask(gateway, method, path)
        assert (answer.status, answer.error["code"]) == (501, "files_not_configured")
        assert "TESSERA_FILES_STORE_URL" in answer.error["message"]


async def test_a_file_is_there_for_its_tenant_alone(start_gateway, settings, worker, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice sk-alice\nbob sk-bob\n")
    gateway = await start_gateway(settings.model_copy(update={"api_keys_file": keys}))
    file_id = await create(gateway, headers=ALICE)
    for method, rest in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = await ask(gateway, method, f"/v1/files/{file_id}{rest}", BOB)
        assert (answer.status, answer.error["code"]) == (404, "file_not_found")
    assert (await listed(gateway, BOB), await listed(gateway, ALICE)) == ([], [file_id])


async def test_another_gateway_has_it_too(start_gateway, settings, worker):
    one, other = [await start_gateway(settings) for _ in range(2)]
    file_id = await create(one)
    assert (await ask(other, "GET", f"/v1/files/{file_id}/content")).body == b"hello"


@pytest.mark.parametrize(
    ("wanted", "status", "body", "span"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=3-5", 206, b"345", "bytes 3-5/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=-20", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-500", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-3", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=x", 200, b"0123456789", None),
        ("bytes=0-" + "9" * 50, 200, b"0123456789", None),
    ],
)
async def test_ranges(gateway, wanted, status, body, span):
    path = f"/v1/files/{await create(gateway, b'0123456789')}/content"
    answer = await ask(gateway, "GET", path, {"Range": wanted})
    assert (answer.status, answer.headers.get("Content-Range")) == (status, span)
    if body is None:
        assert answer.error["code"] == "range_not_satisfiable"
    else:
        assert answer.body == body


async def test_a_range_of_another_version_is_all_of_it(gateway):
    path = f"/v1/files/{await create(gateway)}/content"
    etag = (await ask(gateway, "HEAD", path)).headers["ETag"]
    for known, status in ((etag, 206), ('"other"', 200)):
        assert (await ask(gateway, "GET", path, {"Range": "bytes=1-", "If-Range": known})).status == status


async def test_head_reads_nothing(gateway):
    path = f"/v1/files/{await create(gateway)}/content"
    before = await gateway.metric("tessera_files_bytes_out_total")
    answer = await ask(gateway, "HEAD", path)
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "5", b"")
    assert await gateway.metric("tessera_files_bytes_out_total") == before


async def test_an_empty_file(gateway):
    file_id = await create(gateway, b"")
    answer = await ask(gateway, "GET", f"/v1/files/{file_id}/content")
    assert (answer.status, answer.body) == (200, b"")


async def test_fields_may_come_after_the_file(gateway):
    body = b"--not-the-boundary\r\n" + os.urandom(2 * MIB) + b"\r\n--"
    answer = await post_form(gateway, form(file_part(body), field("purpose", "batch")))
    assert (answer.status, answer.json["purpose"]) == (200, "batch")
    assert (await ask(gateway, "GET", f"/v1/files/{answer.json['id']}/content")).body == body


async def test_headers_of_a_part_come_in_any_order_and_case(gateway):
    head = 'content-type: text/plain\r\nX-More: 1\r\ncontent-disposition: form-data; name="file"; filename="b"'
    answer = await post_form(gateway, form(part(head, b"x"), field("purpose", "batch")))
    assert (answer.status, answer.json["filename"], answer.json["bytes"]) == (200, "b", 1)


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=10001", "limit"), ("limit=x", "limit"), ("limit=" + "9" * 99, "limit"),
     ("order=up", "order"), ("after=x", "after"), ("after=%00", "after")],
)  # fmt: skip
async def test_a_list_that_cannot_be(gateway, query, param):
    answer = await ask(gateway, "GET", f"/v1/files?{query}")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_value", param)


FILE = file_part(b"hello")
PURPOSE = field("purpose", "user_data")
SECONDS = "expires_after[seconds]"
BAD_FORMS = {
    "nothing": (b"", "invalid_multipart", None),
    "no part": (form(), "missing_required_parameter", "file"),
    "no file": (form(PURPOSE), "missing_required_parameter", "file"),
    "no purpose": (form(FILE), "missing_required_parameter", "purpose"),
    "another purpose": (form(field("purpose", "fun"), FILE), "invalid_value", "purpose"),
    "two files": (form(PURPOSE, FILE, FILE), "invalid_multipart", "file"),
    "a file of another name": (form(PURPOSE, file_part(b"x", name="other"), FILE), "invalid_multipart", None),
    "a field twice": (form(PURPOSE, PURPOSE, FILE), "invalid_multipart", None),
    "no end": (form(PURPOSE, FILE)[:-6], "invalid_multipart", None),
    "cut in the head": (form(PURPOSE, FILE)[:-80], "invalid_multipart", None),
    "another boundary": (form(PURPOSE, FILE).replace(BOUNDARY.encode(), b"other"), "invalid_multipart", None),
    "no disposition": (form(PURPOSE, part("Content-Type: text/plain", b"x")), "invalid_multipart", None),
    "no name": (form(PURPOSE, part("Content-Disposition: form-data", b"x")), "invalid_multipart", None),
    "an attachment": (form(part('Content-Disposition: attachment; name="file"', b"x")), "invalid_multipart", None),
    "a large field": (form(field("purpose", "x" * 5000), FILE), "invalid_multipart", None),
    "no UTF-8": (
        form(part('Content-Disposition: form-data; name="purpose"', b"\xff"), FILE),
        "invalid_multipart",
        None,
    ),
    "many fields": (form(*(field(f"f{n}", "x") for n in range(20)), FILE), "invalid_multipart", None),
    "100,000 fields": (form(*(field(f"f{n}", "x") for n in range(100_000))), None, None),
    "100,000 headers": (form(part("\r\n".join(f"X-{n}: y" for n in range(100_000)), b"x")), None, None),
    "a header of 10 kB": (form(part(f"X: {'y' * 10_000}", b"x"), FILE), "invalid_multipart", None),
    "a name of 10 kB": (form(PURPOSE, file_part(b"x", filename="n" * 10_000)), "invalid_multipart", None),
    "a name of 300 bytes": (form(PURPOSE, file_part(b"x", filename="n" * 300)), "invalid_multipart", "file"),
    "a NUL in the name": (form(PURPOSE, file_part(b"x", filename="a\0b")), "invalid_multipart", "file"),
    "an invisible name": (form(PURPOSE, file_part(b"x", filename="a\u202eb")), "invalid_multipart", "file"),
    "no anchor": (form(PURPOSE, field(SECONDS, "60"), FILE), "invalid_value", "expires_after.anchor"),
    **{
        f"{given} seconds": (
            form(PURPOSE, field("expires_after[anchor]", "created_at"), field(SECONDS, given), FILE),
            "invalid_value",
            "expires_after.seconds",
        )
        for given in ("0", "-1", "x", "1.5", "9" * 30, "")
    },
}


@pytest.mark.parametrize("name", BAD_FORMS)
async def test_a_form_that_is_none(gateway, stored, name):
    body, code, param = BAD_FORMS[name]
    with capture_logs() as logs:
        answer = await post_form(gateway, body)
    assert answer.status in (400, 413)
    assert code is None or (answer.error["code"], answer.error["param"]) == (code, param)
    assert not [line for line in logs if line["log_level"] in ("error", "critical")]
    assert (stored(), await listed(gateway)) == ([], [])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.png", "a.png"),
        ("/etc/", "upload"),
        ("..", "upload"),
        ("", "upload"),
        (" a ", "a"),
        ("a;b=c.txt", "a;b=c.txt"),
    ],
)
async def test_a_clients_name_is_no_path(gateway, stored, given, kept):
    answer = await post_form(gateway, usual(filename=given))
    assert (answer.status, answer.json["filename"]) == (200, kept)
    assert stored() == [answer.json["id"]]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"Content-Type": "multipart/mixed; boundary=x"}, 415, "unsupported_media_type"),
        ({"Content-Type": "multipart/form-data"}, 400, "invalid_multipart"),
        ({"Content-Type": f"multipart/form-data; boundary={'x' * 71}"}, 400, "invalid_multipart"),
        ({"Content-Type": "multipart/form-data; boundary="}, 400, "invalid_multipart"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported_content_encoding"),
    ],
)
async def test_a_body_that_is_no_form(gateway, stored, headers, status, code):
    answer = await post_form(gateway, usual(), headers=headers)
    assert (answer.status, answer.error["code"], stored()) == (status, code, [])


async def test_a_file_that_is_too_large_is_not_even_read(gateway, stored):
    head = ["POST /v1/files HTTP/1.1", "Host: x", f"Content-Type: {TYPE['Content-Type']}"]
    async with connected(gateway.port) as client:
        client.send("\r\n".join([*head, "Content-Length: 4000000", "Expect: 100-continue", "", ""]))
        answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (413, "file_too_large")
    assert stored() == []


async def test_nor_one_whose_length_nobody_knows(gateway, stored):
    async def endless():
        yield PURPOSE + FILE[:-7]
        while True:
            yield b"x" * 100_000

    answer = await post_form(gateway, endless())
    assert (answer.status, answer.error["code"]) == (413, "file_too_large")
    assert stored() == []


async def test_a_file_of_just_the_limit(gateway):
    assert len(await create(gateway, b"x" * 3 * MIB)) == 37
    answer = await post_form(gateway, usual(b"x" * (3 * MIB + 1)))
    assert (answer.status, answer.error["code"]) == (413, "file_too_large")


async def test_a_tenant_may_have_only_so_many(start_gateway, settings, worker, stored):
    gateway = await start_gateway(settings.model_copy(update={"files_max_per_tenant": 3}))
    answers = await asyncio.gather(*(post_form(gateway, usual()) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 17
    refused = next(answer for answer in answers if answer.status == 429)
    assert (refused.error["code"], refused.headers["x-should-retry"]) == ("files_quota_exceeded", "false")
    assert len(stored()) == 3


async def test_nothing_is_left_of_a_client_that_breaks_off(gateway, stored):
    before = await gateway.metric("tessera_files_broken_off_total")
    head = ["POST /v1/files HTTP/1.1", "Host: x", f"Content-Type: {TYPE['Content-Type']}", "Content-Length: 3000000"]
    async with connected(gateway.port) as client:
        client.send("\r\n".join([*head, "", ""]), PURPOSE + FILE[:-7], b"x" * 2_000_000)
        await eventually(lambda: len(stored()) == 1, "it is being written")
    await eventually(lambda: stored() == [], "it is gone")
    await eventually(lambda: gateway.requests() == 0, "the request has ended")
    assert await gateway.metric("tessera_files_broken_off_total") == before + 1
    assert await listed(gateway) == []


async def test_a_client_that_takes_for_ever(start_gateway, settings, worker, stored):
    gateway = await start_gateway(settings.model_copy(update={"files_body_timeout_s": 0.2}))

    async def slow():
        yield PURPOSE + FILE[:-7]
        for _ in range(100):
            await asyncio.sleep(0.02)
            yield b"x"

    answer = await post_form(gateway, slow())
    assert (answer.status, answer.error["code"], stored()) == (408, "request_timeout", [])


async def test_what_the_store_has_lost_is_a_503(gateway, tmp_path):
    file_id = await create(gateway)
    for folder, _, names in os.walk(tmp_path / "store"):
        for name in names:
            os.unlink(os.path.join(folder, name))
    answer = await ask(gateway, "GET", f"/v1/files/{file_id}/content")
    assert (answer.status, answer.error["code"]) == (503, "files_unavailable")
    assert (await ask(gateway, "DELETE", f"/v1/files/{file_id}")).status == 200


async def test_a_client_that_leaves_while_it_reads(gateway):
    file_id = await create(gateway, b"x" * 3 * MIB)
    with capture_logs() as logs:
        async with connected(gateway.port) as client:
            client.send(f"GET /v1/files/{file_id}/content HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.until(b"\r\n\r\n")
            client.pause()
        await eventually(lambda: gateway.requests() == 0, "the request has ended")
    assert not [line for line in logs if line["log_level"] in ("error", "critical")]


async def test_a_large_file_takes_no_memory(settings, worker, tmp_path):
    size = 300 * MIB
    block = os.urandom(MIB)

    async def large():
        yield PURPOSE + FILE[:-7]
        for _ in range(size // MIB):
            yield block
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    limits = {"files_max_bytes": size, "files_max_bytes_per_tenant": 2 * size}
    async with gateway_process(settings.model_copy(update=limits), tmp_path) as process:
        url = f"http://127.0.0.1:{process.port}/v1/files"
        async with aiohttp.ClientSession() as http:
            async with http.get(url) as response:
                assert response.status == 200
            before = most = process.resident_bytes

            async def watch():
                nonlocal most
                while True:
                    most = max(most, process.resident_bytes)
                    await asyncio.sleep(0.01)

            watching = asyncio.create_task(watch())
            async with http.post(url, data=large(), headers=TYPE) as response:
                assert response.status == 200
                file = json.loads(await response.read())
            read = 0
            async with http.get(f"{url}/{file['id']}/content") as response:
                async for piece in response.content.iter_any():
                    read += len(piece)
            watching.cancel()
    assert read == file["bytes"] == size
    assert most - before < 48 * MIB
