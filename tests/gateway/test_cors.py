from __future__ import annotations

import pytest

from tests.gateway.files import field, file_part, form, post_form
from tests.gateway.scripted import chat

PAGE = "https://app.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}


@pytest.fixture
async def open_to_pages(start_gateway, settings, worker):
    origins = f"{PAGE}, https://other.example"
    return await start_gateway(settings.model_copy(update={"cors_allow_origins": origins}))


async def preflight(gateway, origin):
    url = gateway.url + "/v1/chat/completions"
    async with gateway.http.options(url, headers={"Origin": origin, **PREFLIGHT}) as response:
        return response.status, response.headers


async def test_web_pages_may_not_use_the_api_unless_somebody_says_so(gateway):
    status, headers = await preflight(gateway, PAGE)
    assert status == 405
    assert "Access-Control-Allow-Origin" not in headers


async def test_a_page_of_an_allowed_origin_may(open_to_pages):
    status, headers = await preflight(open_to_pages, PAGE)
    assert status == 200
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert headers["Access-Control-Allow-Headers"] == "authorization, content-type"


async def test_a_page_of_another_may_not(open_to_pages):
    status, headers = await preflight(open_to_pages, "https://evil.example")
    assert status == 400
    assert "Access-Control-Allow-Origin" not in headers


FORM = form(field("purpose", "user_data"), file_part(b"x"))


@pytest.mark.parametrize("path", ["/v1/files", "/v1/audio/transcriptions"])
@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, True),
        ({"Origin": PAGE}, True),
        ({"Origin": "HERE"}, True),
        ({"Origin": "https://behind.proxy", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example", "Authorization": "Bearer x"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "null"}, False),
    ],
)
async def test_a_form_that_a_page_sends_is_taken_from_where_pages_may(
    start_gateway, settings, tmp_path, path, headers, taken
):
    changed = {"cors_allow_origins": PAGE, "files_store_url": tmp_path.as_uri()}
    gateway = await start_gateway(settings.model_copy(update=changed))
    headers = {name: gateway.url if value == "HERE" else value for name, value in headers.items()}
    answer = await post_form(gateway, FORM, path, headers)
    assert (answer.status == 403) is not taken, answer.body
    if not taken:
        assert answer.error["code"] == "origin_not_allowed"


async def test_a_page_reads_answers_and_errors_and_their_ids(open_to_pages, worker):
    async with worker.serving(worker.echo):
        answered = await open_to_pages.post(chat(worker.card.model), headers={"Origin": PAGE})
    refused = await open_to_pages.post(b"{", headers={"Origin": PAGE})
    assert (answered.status, refused.status) == (200, 400)
    for answer in (answered, refused):
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Request-Id", "X-Tessera-Request-Id", "Idempotency-Replayed"} <= set(exposed)


async def test_a_page_picks_an_answer_up_and_cancels(open_to_pages, worker):
    asked = {"Access-Control-Request-Headers": "last-event-id"}
    for path, method in (("", "DELETE"), ("/events", "GET")):
        headers = {"Origin": PAGE, "Access-Control-Request-Method": method, **asked}
        async with open_to_pages.http.options(f"{open_to_pages.url}/v1/requests/x{path}", headers=headers) as response:
            assert response.status == 200
            assert method in response.headers["Access-Control-Allow-Methods"]


async def test_all_origins_may(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"cors_allow_origins": "*"}))
    _, headers = await preflight(gateway, PAGE)
    assert headers["Access-Control-Allow-Origin"] == "*"
