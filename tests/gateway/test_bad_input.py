from __future__ import annotations

import asyncio
import base64
import json

import pytest
from aiohttp import web

from tessera.local.samples import image
from tests.gateway.scripted import chat

PNG = "data:image/png;base64," + base64.b64encode(image()).decode()

JSON = {"Content-Type": "application/json"}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def picture(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"x"', "invalid_json"),
        (b"null", "invalid_json"),
    ],
)
async def test_a_body_that_is_no_object(gateway, body, code):
    answer = await gateway.post(body)
    assert (answer.status, answer.error["code"]) == (400, code)


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"model": ""}, "model", "missing_required_parameter"),
        ({"model": 3}, "model", "invalid_value"),
        ({"model": "m" * 1_000_000}, "model", "invalid_value"),
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": []}, "messages", "missing_required_parameter"),
        ({"messages": "Hello"}, "messages", "invalid_value"),
        ({"messages": {"role": "user"}}, "messages", "invalid_value"),
        ({"messages": [{"role": "user"}, "Hello"]}, "messages[1]", "invalid_value"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": ["a", 3]}]}, "messages[0].content[1]", "invalid_value"),
        ({"messages": [{"role": "user", "content": [["a"]]}]}, "messages[0].content[0]", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": []}]}]},
            "messages[0].content[0]",
            "unsupported_content_part",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": {}}]}]},
            "messages[0].content[0]",
            "unsupported_content_part",
        ),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0]", "unsupported_content_part"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_embeds"}]}]},
            "messages[0].content[0]",
            "unsupported_content_part",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0]",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [picture("")]}]},
            "messages[0].content[0]",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": "x"}]}]},
            "messages[0].content[0]",
            None,
        ),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "banana", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing_required_parameter"),
        ({"stream": "yes"}, "stream", "invalid_value"),
        ({"stream": 1}, "stream", "invalid_value"),
        ({"stream_options": []}, "stream_options", "invalid_value"),
    ],
)
async def test_a_field_that_the_gateway_needs(gateway, worker, change, param, code):
    answer = await gateway.post(chat(worker.card.model) | change)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert code in (answer.error["code"], None)
    assert len(answer.body) < 1000
    assert await worker.waiting() == 0


async def test_a_body_that_is_nested_too_deeply(gateway, worker):
    deep = b'{"model":"%s","messages":[{"role":"user"}],"x":%s}' % (worker.card.model.encode(), b"[" * 500 + b"]" * 500)
    answer = await gateway.post(deep)
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


async def test_a_model_that_is_not_served(gateway, worker):
    answer = await gateway.post(chat("nobody"))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert worker.card.model in answer.error["message"]


async def test_no_model_at_all(start_gateway, settings):
    gateway = await start_gateway(settings)
    answer = await gateway.post(chat("nobody"))
    assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (503, "no_worker", "10")


class TestALargeBody:
    @pytest.fixture
    async def gateway(self, start_gateway, settings, worker):
        return await start_gateway(settings.model_copy(update={"max_body_bytes": 1000}))

    async def test_that_says_so(self, gateway, worker):
        answer = await gateway.post(chat(worker.card.model, x="x" * 1000))
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")

    async def test_that_does_not(self, gateway, worker):
        async def chunks():
            for _ in range(20):
                yield b"x" * 100

        async with gateway.http.post(gateway.url + "/v1/chat/completions", data=chunks(), headers=JSON) as response:
            assert response.status == 413

    @pytest.mark.parametrize("length", [b"Content-Length: 5000", b"Transfer-Encoding: chunked"])
    async def test_the_answer_comes_before_its_end(self, gateway, length):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(HEAD + length + b"\r\n\r\n7d0\r\n" + b"x" * 2000)
        async with asyncio.timeout(10):
            assert b" 413 " in await reader.readline()
        writer.close()
        await writer.wait_closed()

    async def test_the_connection_can_be_used_again(self, gateway, worker):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(
            HEAD
            + b"Content-Length: 2000\r\n\r\n"
            + b"x" * 2000
            + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(10):
            answers = await reader.read()
        assert [line for line in answers.split(b"\r\n") if b"HTTP/1.1" in line][1].endswith(b" 200 OK")
        writer.close()
        await writer.wait_closed()

    async def test_the_limit_is_exact(self, gateway, worker):
        body = json.dumps(chat(worker.card.model)).encode()
        body += b" " * (1000 - len(body))
        async with worker.serving(worker.echo):
            assert (await gateway.post(body)).status == 200
            assert (await gateway.post(body + b" ")).status == 413


class TestMedia:
    async def rejected(self, gateway, worker, *parts, **fields):
        answer = await gateway.post(chat(worker.card.model, *parts, **fields))
        assert await worker.waiting() == 0
        return answer.status, answer.error["code"], answer.error["param"]

    async def test_more_parts_than_the_model_takes(self, gateway, worker):
        where = (400, "too_many_media_parts", "messages[0].content[3]")
        assert await self.rejected(gateway, worker, picture(PNG), picture(PNG), "text", picture(PNG)) == where

    async def test_a_modality_that_the_model_does_not_take(self, gateway, worker, card):
        card.limits.pop("audio")
        await worker.announce()
        await gateway.get("/readyz")
        sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
        where = (400, "unsupported_modality", "messages[0].content[1]")
        assert await self.rejected(gateway, worker, "text", sound) == where

    @pytest.mark.parametrize(
        ("url", "code"),
        [
            ("file:///etc/passwd", "invalid_media"),
            ("ftp://x/y", "invalid_media"),
            ("tessera-media:" + "0" * 64, "invalid_media"),
            ("data:image/png;base64,AAAA", "media_type_mismatch"),
            ("data:image/png;base64,", "media_decode_failed"),
            ("data:image/png;base64,!!!!", "invalid_media"),
            ("data:image/png,AAAA", "invalid_media"),
            ("data:audio/wav;base64," + PNG.partition(",")[2][:40], "media_type_mismatch"),
            (PNG[: len(PNG) // 8 * 4], "media_decode_failed"),
            ("data:", "invalid_media"),
            ("x", "invalid_media"),
        ],
    )
    async def test_a_url_that_is_no_image(self, gateway, worker, url, code):
        where = (400, code, "messages[0].content[1]")
        assert await self.rejected(gateway, worker, "text", picture(url)) == where

    async def test_an_image_is_no_video(self, gateway, worker):
        part = {"type": "video_url", "video_url": {"url": PNG}}
        assert await self.rejected(gateway, worker, part) == (400, "media_type_mismatch", "messages[0].content[0]")

    @pytest.mark.parametrize("status", [304, 404, 500])
    async def test_a_url_that_does_not_lead_to_media(self, gateway, worker, media_server, status):
        url = media_server.serve("/a.png", status=status, headers={"Location": "/b.png"})
        where = (400, "media_fetch_failed", "messages[0].content[0]")
        assert await self.rejected(gateway, worker, picture(url)) == where
        assert media_server.asked == ["/a.png"]

    async def test_a_url_that_nobody_answers(self, gateway, worker):
        part = picture("http://127.0.0.1:9/a.png")
        assert await self.rejected(gateway, worker, part) == (400, "media_fetch_failed", "messages[0].content[0]")

    async def test_private_addresses_are_not_fetched(self, start_gateway, settings, worker, media_server):
        gateway = await start_gateway(settings.model_copy(update={"media_allow_private_networks": False}))
        part = picture(media_server.serve("/a.png", image()))
        assert await self.rejected(gateway, worker, part) == (400, "media_fetch_blocked", "messages[0].content[0]")
        assert media_server.asked == []

    async def test_a_url_that_is_slow(self, start_gateway, settings, worker, media_server):
        gateway = await start_gateway(settings.model_copy(update={"media_fetch_timeout_s": 0.2}))
        part = picture(media_server.hang("/a.png"))
        assert await self.rejected(gateway, worker, part) == (400, "media_fetch_timeout", "messages[0].content[0]")

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_url_that_leads_to_too_much(self, start_gateway, settings, worker, media_server, chunked):
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.Response(body=bytes(2000))
            if chunked:
                response.enable_chunked_encoding()
            return response

        media_server.handlers["/a.png"] = answer
        gateway = await start_gateway(settings.model_copy(update={"media_max_bytes": 1000}))
        where = (400, "media_too_large", "messages[0].content[0]")
        assert await self.rejected(gateway, worker, picture(media_server.url + "/a.png")) == where

    async def test_one_bad_part_stops_the_work_on_the_others(self, gateway, worker, media_server):
        slow, bad = media_server.hang("/slow.png"), media_server.serve("/bad.png", b"no picture")
        where = (400, "media_type_mismatch", "messages[0].content[1]")
        assert await self.rejected(gateway, worker, picture(slow), picture(bad)) == where

    @pytest.mark.parametrize(
        ("video", "param"),
        [
            ({"num_frames": 0}, "num_frames"),
            ({"num_frames": -1}, "num_frames"),
            ({"num_frames": 1e9}, "num_frames"),
            ({"num_frames": True}, "num_frames"),
            ({"fps": 0}, "fps"),
            ({"fps": "1"}, "fps"),
        ],
    )
    async def test_sampling_out_of_range(self, gateway, worker, video, param):
        where = (400, "invalid_value", f"media_io_kwargs.video.{param}")
        assert await self.rejected(gateway, worker, picture(PNG), media_io_kwargs={"video": video}) == where
