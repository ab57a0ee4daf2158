"""What pydantic says of requests that do not fit vLLM 0.32's models (``validation_errors.json``: recorded from it)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from tessera.worker import validation
from tessera.worker.validation import LONGEST_NAME, explain

RECORDED = {r["name"]: r for r in json.loads(Path(__file__).with_name("validation_errors.json").read_text())}

SENTENCES = {
    "temperature text": ("temperature", "`temperature` should be a valid number."),
    "max_tokens text": ("max_tokens", "`max_tokens` should be a valid integer."),
    "logit_bias value": ("logit_bias.5", "`logit_bias.5` should be a valid number."),
    "stop_token_ids text": ("stop_token_ids[0]", "`stop_token_ids[0]` should be a valid integer."),
    "stop number": ("stop", "`stop` should be a valid string or a valid list."),
    "prompt number": ("prompt", "`prompt` should be a valid list or a valid string."),
    "prompt mixed": ("prompt[0]", "`prompt[0]` should be a valid integer or a valid list."),
    "schema not object": (
        "response_format.json_schema.schema",
        "`response_format.json_schema.schema` should be a valid object.",
    ),
    "format unknown": (
        "response_format.type",
        "`response_format.type` should be 'text', 'json_object' or 'json_schema' or 'structural_tag'.",
    ),
    "format text": ("response_format", "`response_format` should be a valid object."),
    "tools no name": ("tools[0].function.name", "`tools[0].function.name` is required."),
    "role missing": ("messages[0].role", "`messages[0].role` is required."),
    "role number": (
        "messages[0].role",
        "`messages[0].role` should be 'developer' or 'system' or 'user' or 'assistant' or 'tool' or 'function' or"
        " a valid string.",
    ),
    "content number": (
        "messages[0].content",
        "`messages[0].content` should be a valid string or iterable or a valid list.",
    ),
    "message text": ("messages[0]", "`messages[0]` should be a valid object."),
    "tool_calls text": (None, "A part of the request should be a valid object."),
    "user number": ("user", "`user` should be a valid string."),
    "vllm_xargs": (
        "vllm_xargs.a",
        "`vllm_xargs.a` should be a valid string or a valid integer or a valid number or a valid list.",
    ),
    "many": ("logit_bias", "`logit_bias` should be a valid object."),
    "text body": (None, "The request should be a valid object."),
}


@pytest.mark.parametrize("name", RECORDED)
def test_many_errors_become_one_sentence_about_one_field(name: str) -> None:
    error = explain(RECORDED[name]["errors"], RECORDED[name]["request"])
    assert (error.param, error.message) == SENTENCES[name]
    assert error.status == 400
    assert error.code == ("missing_required_parameter" if error.message.endswith("required.") else "invalid_value")


def missing(*location: str | int) -> dict[str, Any]:
    return {"type": "missing", "loc": location, "msg": "Field required"}


def test_without_the_request_no_path_is_made_up() -> None:
    error = explain([missing(0, "ChatCompletionContentPartTextParam", "text")])
    assert (error.param, error.message) == (None, "`text` is required.")


def test_what_is_no_list_of_fields_is_told_as_it_is() -> None:
    assert explain(["Unsupported Media Type: Only 'application/json' is allowed"]).message.startswith("Unsupported")


def test_a_rule_of_a_model_is_told_in_its_words() -> None:
    error = explain([{"type": "value_error", "loc": ("body", "n"), "msg": "Value error, n is odd."}], {"n": 1})
    assert (error.param, error.message) == ("n", "`n` is not valid: Value error, n is odd.")


def test_a_clients_own_name_is_cut() -> None:
    name = "x" * 10_000
    error = explain([{"type": "float_type", "loc": ("body", "a", name), "msg": "Input should be x"}], {"a": {name: 1}})
    assert error.param == "a." + "x" * LONGEST_NAME


def test_thousands_of_errors_are_as_short_as_one() -> None:
    wrong = [
        {"type": "int_type", "loc": ("body", "ids", i), "msg": "Input should be a valid integer"} for i in range(12_000)
    ]
    assert explain(wrong, {"ids": ["x"] * 12_000}).message == "`ids[0]` should be a valid integer."


class _Prompt(BaseModel):
    prompt: str | list[str]


@pytest.mark.parametrize(("path", "param"), [("/at-once", "prompt"), ("/late", None)])
def test_an_application_answers_so(path: str, param: str | None) -> None:
    app = FastAPI()
    for kind in (RequestValidationError, ValidationError):
        app.add_exception_handler(kind, validation.answer)

    @app.post("/at-once")
    async def at_once(prompt: _Prompt) -> None:
        raise AssertionError

    @app.post("/late")
    async def late() -> None:
        _Prompt.model_validate({"prompt": 5})

    answer = TestClient(app).post(path, json={"prompt": 5})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, "invalid_value")
    assert error["message"].endswith(" should be a valid string or a valid list.")
