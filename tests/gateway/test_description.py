"""``openapi.yaml`` against the server, in both directions: what it allows is taken, what it forbids is refused."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.description import GENERATING, PATHS, allowed, forbidden, wrong_fields

OTHERS = [path for path in PATHS if path not in GENERATING]
MALFORMED = {"invalid_json", "invalid_value", "missing_required_parameter", "unsupported_content_part"}
# What JSON Schema cannot say: by the field, words of the message.
UNSAID = [
    # The model of these tests does not say how it counts.
    ("visual_token_budget", "is not known here"),
    (r"n|prompt|messages", "sequences are allowed"),
    (r"(messages|input)(\[\d+\])+\.tool_call_id", "a call that nobody made"),
    (r".*content\[\d+\]\.max_visual_tokens", "cannot"),
    (r"(media_io|mm_processor)_kwargs\..*", "contradict each other"),
    (r"previous_response_id", "not found"),
    (r"store", "With `background`"),
    (r"store", "In a `conversation`"),
    (r"conversation", "There is no conversation"),
    (r"conversation", "a request has one"),
    (r"mm_processor_kwargs\.(min|max)_pixels", "cannot be set by a request to this model"),
]
OF_MEDIA = {
    "files_not_configured",
    "invalid_media",
    "media_decode_failed",
    "media_fetch_blocked",
    "media_fetch_failed",
    "media_type_mismatch",
    "too_many_media_parts",
}
TIMES = int(os.environ.get("TESSERA_TEST_EXAMPLES", "1"))
# A body that fails is shown as it is: to look for a smaller one takes minutes.
QUICK = settings(
    max_examples=20 * TIMES,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def for_model(body: Any, model: str) -> Any:
    """The body, asking for a model that is served where it asks for one at all."""
    named = isinstance(body, dict) and isinstance(body.get("model"), str) and 0 < len(body["model"]) <= 512
    return body | {"model": model} if named else body


def unsaid(error: dict[str, Any]) -> bool:
    said = error["message"]
    return error["code"] in OF_MEDIA or any(
        re.fullmatch(at, error["param"] or "") and why in said for at, why in UNSAID
    )


FEWER = settings(QUICK, max_examples=4 * TIMES)


@pytest.mark.parametrize("path", GENERATING)
@given(data=st.data())
@QUICK
async def test_what_the_description_allows_is_taken(gateway, worker, path, data):
    await takes(gateway, worker, path, data.draw(allowed(path)))


@pytest.mark.parametrize("path", OTHERS)
@given(data=st.data())
@FEWER
async def test_what_the_description_of_other_endpoints_allows_is_taken(gateway, worker, path, data):
    await takes(gateway, worker, path, data.draw(allowed(path)))


@pytest.mark.parametrize("path", GENERATING)
@given(data=st.data())
@QUICK
async def test_what_the_description_forbids_is_refused_by_name(gateway, worker, path, data):
    await refuses(gateway, worker, path, data.draw(forbidden(path)))


@pytest.mark.parametrize("path", OTHERS)
@given(data=st.data())
@FEWER
async def test_what_the_description_of_other_endpoints_forbids_is_refused_by_name(gateway, worker, path, data):
    await refuses(gateway, worker, path, data.draw(forbidden(path)))


async def takes(gateway, worker, path, body):
    async with worker.serving(worker.echo):
        answer = await gateway.post(for_model(body, worker.card.model), path)
    assert answer.status == 200 or (answer.status in (400, 404, 501) and unsaid(answer.error)), answer.body


async def refuses(gateway, worker, path, body):
    async with worker.serving(worker.echo):
        answer = await gateway.post(for_model(body, worker.card.model), path)
    error = answer.error
    assert len(error["message"]) < 500
    if answer.status in (400, 404, 501) and unsaid(error):
        return  # which is wrong, too, and was found first
    assert answer.status == 400, answer.body
    assert error["code"] in MALFORMED
    if isinstance(body, dict):
        assert re.split(r"[.\[]", error["param"])[0] in wrong_fields(path, body)
