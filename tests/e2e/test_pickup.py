"""Answers of the real engine that are picked up again, cancelled, and asked for twice."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.e2e.media import image_part, text_part, user
from tests.polling import eventually_sync
from tests.stack import SOON_S, RunningStack

pytestmark = pytest.mark.e2e
RUNNING = "vllm:num_requests_running"
LASTING = {"X-Tessera-On-Disconnect": "continue"}
JOB = "X-Tessera-Request-Id"


def connect(stack: RunningStack) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=60)


def ask(
    connection: http.client.HTTPConnection, stack: RunningStack, tokens: int, headers: dict[str, str]
) -> http.client.HTTPResponse:
    body = {"model": stack.model, "messages": user(text_part("Describe it."), image_part()), "max_tokens": tokens}
    body |= {"ignore_eos": True, "temperature": 0, "stream": True, "logprobs": True}
    sent = {"Content-Type": "application/json", **headers}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), sent)
    return connection.getresponse()


def call(stack: RunningStack, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    with closing(connect(stack)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


def test_a_stream_whose_client_left_is_read_to_its_end(stack: RunningStack) -> None:
    with closing(connect(stack)) as connection:
        answer = ask(connection, stack, 40, LASTING)
        job_id, begun = answer.getheader(JOB), b""
        while begun.count(b"\n\n") < 5:
            begun += answer.read1()
    begun = begun[: begun.rindex(b"\n\n") + 2]
    last = re.findall(rb"(?m)^id: (\S+)$", begun)[-1].decode()
    first = json.loads(begun.split(b"\n\n")[0].split(b"data: ")[1])
    assert first["id"] == f"chatcmpl-{job_id}"
    _, rest = call(stack, "GET", f"/v1/requests/{first['id']}/events", **{"Last-Event-ID": last})
    assert begun + rest == call(stack, "GET", f"/v1/requests/{job_id}/events")[1]
    assert rest.endswith(b"data: [DONE]\n\n")
    assert (begun + rest).count(b'"logprob":') >= 40
    state = json.loads(call(stack, "GET", f"/v1/requests/{job_id}")[1])
    assert (state["state"], state["attempts"], state["resumed"]) == ("completed", 1, False)


def test_what_is_cancelled_leaves_the_engine(stack: RunningStack) -> None:
    with closing(connect(stack)) as connection:
        answer = ask(connection, stack, 8000, {})
        eventually_sync(lambda: stack.engine_metric(RUNNING) == 1, "the request running")
        status, state = call(stack, "DELETE", f"/v1/requests/{answer.getheader(JOB)}")
        assert (status, json.loads(state)["state"]) == (200, "cancelled")
        eventually_sync(lambda: stack.engine_metric(RUNNING) == 0, "the request aborted", within_s=SOON_S)
        assert b'"code":"request_cancelled"' in answer.read()


def test_a_request_that_is_sent_twice_is_run_once(stack: RunningStack) -> None:
    counted = stack.engine_metric("vllm:request_success_total")
    answers = []
    for _ in range(2):
        with closing(connect(stack)) as connection:
            answer = ask(connection, stack, 10, {"Idempotency-Key": "test-pickup"})
            answers.append((answer.getheader("Idempotency-Replayed"), answer.getheader(JOB), answer.read()))
    assert [replayed for replayed, *_ in answers] == [None, "true"]
    assert answers[0][1:] == answers[1][1:]
    assert stack.engine_metric("vllm:request_success_total") == counted + 1
