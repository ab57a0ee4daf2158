from __future__ import annotations

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from tessera.gateway.failsafe import Failsafe


async def test_what_nobody_thought_of_is_an_error_in_our_form_and_logged_once(gateway, monkeypatch, caplog):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(gateway.app.state.services.catalogue, "served", fail)
    with capture_logs([merge_contextvars]) as logs:
        async with gateway.http.get(gateway.url + "/v1/models") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (500, "internal_error")
    [line] = logs
    assert (line["event"], line["path"]) == ("unexpected_error", "/v1/models")
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert not caplog.records


async def test_an_answer_that_has_begun_is_left_incomplete():
    start = {"type": "http.response.start", "status": 200}
    sent = []

    async def app(scope, receive, send):
        await send(start)
        raise ZeroDivisionError

    async def send(message):
        sent.append(message)

    with capture_logs() as logs:
        await Failsafe(app)({"type": "http", "path": "/x"}, None, send)
    assert sent == [start]
    assert [(line["event"], line["answer_begun"]) for line in logs] == [("unexpected_error", True)]
