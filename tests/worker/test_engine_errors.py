"""What vLLM 0.32 really said (``engine_errors.json``: recorded from it, streamed and not), and what a client sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import TesseraError
from tessera.queue import Job
from tessera.worker import engine_errors

RECORDED = json.loads(Path(__file__).with_name("engine_errors.json").read_text())
STREAMED = [r for r in RECORDED if "event" in r]


def job(**request: Any) -> Job:
    return Job("j", "m", "/v1/chat/completions", json.dumps(request).encode())


def of(status: int, body: Any, **request: Any) -> TesseraError:
    return engine_errors.of_document(
        status, body if isinstance(body, bytes) else json.dumps(body).encode(), job(**request)
    )


def vllm(message: str, status: int, param: str | None = None, kind: str = "BadRequestError") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda r: r["name"])
def test_an_error_is_told_in_the_terms_of_the_openai_api(recorded: dict[str, Any]) -> None:
    error = of(recorded["status"], recorded["body"], **recorded["request"])
    assert (error.status, error.type) == (recorded["status"], "invalid_request_error")
    assert (error.code, error.param) == (recorded["code"], recorded["param"])
    assert set(error.message.split()) <= set(recorded["body"]["error"]["message"].split())
    for noise in ("(parameter=", "<path>", "\n"):
        assert noise not in error.message


@pytest.mark.parametrize("recorded", STREAMED, ids=lambda r: r["name"])
def test_an_event_is_told_like_the_same_error_in_a_document(recorded: dict[str, Any]) -> None:
    streamed = engine_errors.translate(recorded["event"]["error"], job(**recorded["request"]))
    assert streamed.status == recorded["status"]
    assert streamed.body() == of(recorded["status"], recorded["body"], **recorded["request"]).body()


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (400, 400, "invalid_value"),
        (404, 404, "not_found"),
        (422, 400, "invalid_value"),
        (429, 503, "engine_busy"),
        (500, 500, "engine_error"),
        (501, 501, "unsupported_by_engine"),
        (503, 503, "engine_busy"),
        (599, 500, "engine_error"),
    ],
)
def test_every_status_has_a_code(status: int, expected: int, code: str) -> None:
    error = of(status, vllm("Something.", status))
    assert (error.status, error.code) == (expected, code)
    assert engine_errors.translate(vllm("Something.", status)["error"], job()).body() == error.body()


@pytest.mark.parametrize(
    "body", [b"", b"Internal Server Error", b"[]", b'{"detail":"x"}', b'{"error":"x"}', b'{"error":{}}']
)
@pytest.mark.parametrize(("status", "code"), [(400, "invalid_value"), (500, "engine_error")])
def test_what_is_no_error_of_vllm_is_told_by_its_status(body: bytes, status: int, code: str) -> None:
    error = of(status, body)
    assert (error.status, error.code, error.param) == (status, code, None)
    assert error.message


def test_an_event_without_a_status_is_the_engines_fault() -> None:
    assert engine_errors.translate({"message": "It broke."}, job()).code == "engine_error"


def test_the_reason_of_a_failure_stays_in_the_log() -> None:
    assert "secret" not in of(500, vllm("KeyError: 'secret'", 500, kind="InternalServerError")).message


def test_an_error_of_the_servers_own_comes_back_as_it_was() -> None:
    error = of(503, {"error": {"message": "Expired.", "type": "x", "param": "messages[0]", "code": "unavailable"}})
    assert (error.status, error.code, error.message, error.param) == (503, "unavailable", "Expired.", "messages[0]")


def test_a_code_that_is_not_the_servers_does_not_reach_the_metrics() -> None:
    assert of(400, {"error": {"message": "x", "code": "made_up"}}).code == "invalid_value"


def test_a_long_message_is_cut() -> None:
    assert len(of(400, vllm("x" * 100_000, 400)).message) == engine_errors.LONGEST_MESSAGE + 1


def test_two_fields_that_ask_for_a_grammar_are_not_guessed_between() -> None:
    error = of(400, vllm("Invalid grammar specification.", 400), response_format={}, structured_outputs={})
    assert error.param is None
