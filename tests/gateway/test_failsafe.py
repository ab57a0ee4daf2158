from __future__ import annotations

import aiohttp
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from tests.gateway.scripted import chat


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


async def test_an_answer_that_cannot_go_on_does_not_look_complete(gateway, worker, monkeypatch):
    async def fail(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise ZeroDivisionError

    monkeypatch.setattr("tessera.gateway.relay.Relay.__call__", fail)
    with capture_logs() as logs, pytest.raises(aiohttp.ClientPayloadError):
        await gateway.post(chat(worker.card.model, stream=True))
    assert "unexpected_error" in [line["event"] for line in logs]
