"""A client that goes away stops vLLM's work on its request: soon, not once its lease or its answer ends."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

from tests.e2e.media import text_part, user
from tests.polling import eventually_sync
from tests.stack import SOON_S, RunningStack

pytestmark = pytest.mark.e2e
RUNNING = "vllm:num_requests_running"


@pytest.mark.parametrize("stream", [False, True])
def test_disconnect_aborts(stack: RunningStack, stream: bool) -> None:
    body = {
        "model": stack.model,
        "messages": user(text_part("Count for ever.")),
        "max_tokens": 8000,
        "ignore_eos": True,
        "stream": stream,
    }
    eventually_sync(lambda: stack.engine_metric(RUNNING) == 0, "an idle engine")
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    if stream:
        assert connection.getresponse().read(64).startswith(b"data: ")
    eventually_sync(lambda: stack.engine_metric(RUNNING) == 1, "the request running")
    generated = "vllm:generation_tokens_total"
    assert connection.sock is not None
    connection.sock.shutdown(2)
    connection.close()
    eventually_sync(lambda: stack.engine_metric(RUNNING) == 0, "the request aborted", within_s=SOON_S)
    before = stack.engine_metric(generated)
    eventually_sync(lambda: stack.metric("tessera_jobs_running") == 0, "no lease left")
    assert stack.engine_metric(generated) == before
