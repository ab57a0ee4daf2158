"""What bad input gets: the right status and an OpenAI error body, streamed or not, and a server that goes on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.media import audio_part, data_url, image_part, picture, text_part, user
from tests.stack import RunningStack, request

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"
# Where a path redirects to.
_MOVED = {"/moved": "/image", "/circle": "/circle"}


class _Handler(BaseHTTPRequestHandler):
    released = threading.Event()

    def do_GET(self) -> None:
        if self.path in _MOVED:
            self.send_response(302)
            self.send_header("Location", _MOVED[self.path])
            self.end_headers()
        elif self.path == "/slow":
            self.released.wait(60)
        elif self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
        elif self.path == "/image":
            data = picture("navy")
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            self.send_error(404)

    def log_message(self, *args: object) -> None:
        """Keep the test output clean."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    _Handler.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def ask(stack: RunningStack, stream: bool, **body: Any) -> tuple[int, dict[str, Any]]:
    status, _, content = request(
        f"{stack.url}/v1/chat/completions", {"model": MODEL, "max_tokens": 4, "stream": stream, **body}
    )
    return status, json.loads(content)


def check(stack: RunningStack, status: int, body: dict[str, Any], expected: int, code: Any, param: str | None) -> None:
    error = body["error"]
    assert status == expected, error
    assert error["code"] == code, error
    assert error["param"] == param, error
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["type"]
    healthy, answer = ask(stack, False, messages=user(text_part("Hello")))
    assert healthy == 200
    assert answer["choices"]


BAD: dict[str, tuple[dict[str, Any], int, Any, str | None]] = {
    "unknown model": ({"model": "gpt-9", "messages": user(text_part("x"))}, 404, "model_not_found", "model"),
    "no messages": ({}, 400, "missing_required_parameter", "messages"),
    "empty messages": ({"messages": []}, 400, "missing_required_parameter", "messages"),
    "unsupported part": (
        {"messages": user(text_part("x"), {"type": "point_cloud", "point_cloud": {}})},
        400,
        "unsupported_content_part",
        "messages[0].content[1]",
    ),
    "not what it says": (
        {"messages": user({"type": "image_url", "image_url": {"url": data_url("image/png", b"RIFF\0\0\0\0WAVEfmt ")}})},
        400,
        "media_type_mismatch",
        "messages[0].content[0]",
    ),
    "no base64": (
        {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@"}})},
        400,
        "invalid_media",
        "messages[0].content[0]",
    ),
    "local file": (
        {"messages": user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})},
        400,
        "invalid_media",
        "messages[0].content[0]",
    ),
    "truncated image": (
        {"messages": user(image_part(picture("red")[:60]))},
        400,
        "media_decode_failed",
        "messages[0].content[0]",
    ),
    "max_tokens 0": ({"messages": user(text_part("x")), "max_tokens": 0}, 400, "invalid_value", "max_tokens"),
    "max_tokens -1": ({"messages": user(text_part("x")), "max_tokens": -1}, 400, "invalid_value", "max_tokens"),
    "temperature": ({"messages": user(text_part("x")), "temperature": 3}, 400, "invalid_value", "temperature"),
    "role": ({"messages": [{"content": "x"}]}, 400, "missing_required_parameter", "messages[0].role"),
    "content": ({"messages": [{"role": "user", "content": 5}]}, 400, "invalid_value", "messages[0].content"),
    "too many images": (
        {"messages": user(*[image_part()] * 9)},
        400,
        "too_many_media_parts",
        "messages[0].content[8]",
    ),
    "too many sounds over turns": (
        {"messages": user(*[audio_part()] * 2) * 3},
        400,
        "too_many_media_parts",
        "messages[2].content[0]",
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_rejected_by_the_gateway(stack: RunningStack, name: str, stream: bool) -> None:
    body, expected, code, param = BAD[name]
    status, answer = ask(stack, stream, **body)
    check(stack, status, answer, expected, code, param)


# vLLM refuses these; the words are its own, the terms are OpenAI's.
BAD_FOR_VLLM: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "too long": ({"messages": user(text_part("word " * 9000))}, "context_length_exceeded", "messages"),
    "top_k": ({"messages": user(text_part("x")), "top_k": "5.5"}, "invalid_value", "top_k"),
    "min_p": ({"messages": user(text_part("x")), "min_p": []}, "invalid_value", "min_p"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BAD_FOR_VLLM)
def test_rejected_by_vllm(stack: RunningStack, name: str, stream: bool) -> None:
    body, code, param = BAD_FOR_VLLM[name]
    status, answer = ask(stack, stream, **body)
    check(stack, status, answer, 400, code, param)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "code"),
    [("/circle", "media_fetch_failed"), ("/missing", "media_fetch_failed"), ("/large", "media_too_large")],
)
def test_url_that_cannot_be_used(stack: RunningStack, web: str, path: str, code: str, stream: bool) -> None:
    part = {"type": "image_url", "image_url": {"url": web + path}}
    status, answer = ask(stack, stream, messages=user(text_part("a"), image_part(), part))
    check(stack, status, answer, 400, code, "messages[0].content[2]")


def test_slow_url(stack: RunningStack, web: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"{web}/slow"}}
    status, answer = ask(stack, False, messages=user(part))
    check(stack, status, answer, 400, "media_fetch_timeout", "messages[0].content[0]")


def test_unreachable_url(stack: RunningStack) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/a.png"
        status, answer = ask(stack, False, messages=user({"type": "image_url", "image_url": {"url": url}}))
    check(stack, status, answer, 400, "media_fetch_failed", "messages[0].content[0]")


@pytest.mark.parametrize("path", ["/image", "/moved"])
def test_good_url(stack: RunningStack, web: str, path: str) -> None:
    part = {"type": "image_url", "image_url": {"url": web + path}}
    status, answer = ask(stack, False, messages=user(part, text_part("What is it?")))
    assert status == 200
    by_data = ask(stack, False, messages=user(image_part(picture("navy")), text_part("What is it?")), temperature=0)
    by_url = ask(stack, False, messages=user(part, text_part("What is it?")), temperature=0)
    assert by_url[1]["choices"][0]["message"] == by_data[1]["choices"][0]["message"]
    assert answer["usage"]["prompt_tokens_details"]["multimodal_tokens"]["image"]


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"", None), (b"{", None), (b"[]", None), (b"null", None), (b"\xff\xfe", None), (b'{"model": NaN}', "model")],
)
def test_malformed_json(stack: RunningStack, body: bytes, param: str | None) -> None:
    status, _, content = request(f"{stack.url}/v1/chat/completions", body)
    check(stack, status, json.loads(content), 400, "invalid_json", param)


@pytest.mark.parametrize("stream", [False, True])
def test_media_that_left_the_store_before_its_request_ran(stack: RunningStack, stream: bool) -> None:
    part = {"type": "image_url", "image_url": {"url": "tessera-media:" + "0" * 64}}
    body = {"model": MODEL, "messages": user(part), "max_tokens": 4, "stream": stream}
    status, headers, content = request(f"{stack.direct_url}/v1/chat/completions", body)
    assert (status, json.loads(content)["error"]["code"]) == (503, "unavailable")
    assert headers["retry-after"] == "1"
    # From outside, a reference is no URL at all.
    status, answer = ask(stack, stream, messages=user(part))
    check(stack, status, answer, 400, "invalid_media", "messages[0].content[0]")
