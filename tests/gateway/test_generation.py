from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from tessera.gateway import playback
from tessera.queue import Data, End, Failure, Head
from tests.gateway.raw import post
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, chat, event, sent
from tests.polling import eventually
from tests.queue.corner import depth_of

DONE = Data(b"data: [DONE]\n\n")


async def test_a_document_comes_as_one_body(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, temperature=0, made_up={"a": [1]})))
    lease = await worker.take()
    await worker.say(lease, DOCUMENT, Data(b'{"cho'), Data(b'ices": []}'))
    await worker.say(lease, End(USAGE))
    answer = await asked
    assert (answer.status, answer.json) == (200, {"choices": []})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert sent(lease) == chat(worker.card.model, temperature=0, made_up={"a": [1]})


async def test_a_stream_comes_piece_by_piece(gateway, worker):
    async def begin():
        lease = await worker.take()
        await worker.say(lease, STREAM, event("one"))
        return lease

    begun = asyncio.create_task(begin())
    request = chat(worker.card.model, stream=True)
    async with gateway.http.post(gateway.url + "/v1/chat/completions", json=request) as r:
        lease = await begun
        assert await r.content.readuntil(b"\n\n") == event("one").body
        assert r.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert r.headers["Cache-Control"] == "no-cache"
        assert r.headers["X-Accel-Buffering"] == "no"
        await worker.say(lease, event("two"), event("three"))
        assert await r.content.readuntil(b"\n\n") == event("two").body
        assert await r.content.readuntil(b"\n\n") == event("three").body
        await worker.say(lease, DONE, End(USAGE))
        assert await r.content.read() == DONE.body
    assert gateway.open_streams == 0


async def test_completions_take_the_same_way(gateway, worker):
    async with worker.serving(worker.echo):
        answer = await gateway.post({"model": worker.card.model, "prompt": ["a", "b"]}, "/v1/completions")
    assert answer.json == {"echo": {"model": worker.card.model, "prompt": ["a", "b"]}}


async def test_the_width_of_a_job_is_that_of_its_sequences_and_no_more_than_the_engine(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"max_sequences": 2 * worker.card.sequences}))
    async with asyncio.TaskGroup() as tasks:
        for n, width in ((3, 3), (2 * worker.card.sequences, worker.card.sequences)):
            tasks.create_task(gateway.post(chat(worker.card.model, n=n)))
            lease = await worker.take()
            assert lease.job.sequences == width
            await worker.echo(lease)


async def test_a_request_that_is_too_wide_is_refused(gateway, worker):
    answer = await gateway.post(chat(worker.card.model, n=129))
    assert (answer.status, answer.error["param"]) == (400, "n")
    assert "128" in answer.error["message"]
    prompts = {"model": worker.card.model, "prompt": ["a"] * 129}
    answer = await gateway.post(prompts, "/v1/completions")
    assert (answer.status, answer.error["param"]) == (400, "prompt")
    async with worker.serving(worker.echo):
        assert (await gateway.post(chat(worker.card.model, prompt=["a"] * 129))).status == 200
        assert (await gateway.post(chat(worker.card.model, n=128))).status == 200


async def test_the_usage_of_a_stream_is_always_asked_for_and_hidden_unless_the_client_did(gateway, worker):
    async def seen(**fields):
        asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True, **fields)))
        lease = await worker.take()
        await worker.echo(lease)
        await asked
        return sent(lease)["stream_options"], lease.job.hide_usage

    assert await seen() == ({"include_usage": True}, True)
    assert await seen(stream_options={"include_usage": False, "x": 1}) == ({"include_usage": True, "x": 1}, True)
    assert await seen(stream_options={"include_usage": True}) == ({"include_usage": True}, False)


async def test_a_usage_chunk_passes_through(gateway, worker):
    chunk = Data(b'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\n')
    asked = asyncio.create_task(
        gateway.post(chat(worker.card.model, stream=True, stream_options={"include_usage": True}))
    )
    await worker.say(await worker.take(), STREAM, event("a"), chunk, DONE, End(USAGE))
    assert (await asked).body == event("a").body + chunk.body + DONE.body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 500])
async def test_an_error_of_the_engine_passes_unchanged(gateway, worker, stream, status):
    body = b'{"error":{"message":"max_tokens is too large","type":"BadRequestError","param":"max_tokens","code":400}}'
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=stream)))
    await worker.say(await worker.take(), Head(status, "application/json"), Data(body), End())
    answer = await asked
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["Content-Type"] == "application/json"
    model = worker.card.model
    assert await gateway.metric("tessera_requests_total", model=model, status=str(status), code="engine") == 1


async def test_the_engine_says_when_to_send_again(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model)))
    head = Head(503, "application/json", headers={"retry-after": "240"})
    await worker.say(await worker.take(), head, Data(b"{}"), End())
    assert (await asked).headers["Retry-After"] == "240"


async def test_an_error_in_the_middle_of_a_stream_is_counted_as_one(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    error = Data(b'data: {"error":{"message":"It broke.","code":"engine_error"}}\n\n')
    with capture_logs() as logs:
        lease = await worker.take()
        await worker.say(lease, STREAM, event("one"), error, DONE, End(error=(500, "engine_error")))
        answer = await asked
    assert (answer.status, answer.body) == (200, event("one").body + error.body + DONE.body)
    model = worker.card.model
    assert await gateway.metric("tessera_requests_total", model=model) == 1
    assert await gateway.metric("tessera_requests_total", model=model, status="500", code="engine_error") == 1
    [line] = [line for line in logs if line["event"] == "request_failed"]
    assert (line["job"], line["code"], line["log_level"]) == (lease.job.id, "engine_error", "warning")
    assert "It broke." not in str(line)


async def test_an_empty_answer_is_an_error(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model)))
    await worker.say(await worker.take(), End())
    answer = await asked
    assert (answer.status, answer.error["code"]) == (500, "internal_error")


async def test_a_failure_of_the_worker_before_the_first_byte_is_an_error_response(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    await worker.say(await worker.take(), Failure("internal_error", "It broke."))
    answer = await asked
    assert (answer.status, answer.error["message"]) == (500, "It broke.")


async def test_a_worker_lost_in_the_middle_ends_the_stream_with_an_error_event(gateway, worker):
    url = f"{gateway.url}/v1/chat/completions"
    asked = asyncio.create_task(gateway.http.post(url, json=chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    async with await asked as answer:
        assert await answer.content.readuntil(b"\n\n") == event("one").body
        # What the queue writes when the lease of a job whose reply has begun runs out; tokens before it are not lost.
        await worker.say(lease, event("two"), Failure("worker_lost", "It died."))
        assert await answer.content.readuntil(b"\n\n") == event("two").body
        error, done, end = (await answer.content.read()).split(b"\n\n")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "worker_lost"
    assert (done, end) == (b"data: [DONE]", b"")
    assert await gateway.metric("tessera_requests_total", model=worker.card.model, code="worker_lost") == 1


async def test_a_failure_before_anything_was_sent_is_an_error_that_can_be_retried(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    await worker.say(await worker.take(), STREAM, event("one"), Failure("worker_lost", "It died."))
    answer = await asked
    assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (503, "worker_lost", "1")


async def test_a_worker_that_dies_before_the_first_token_is_replaced(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"lease_s": 0.2}))
    worker.broker._lease_ms = 100
    asked = asyncio.create_task(gateway.post(chat(worker.card.model)))
    first = await worker.take()  # and is silent from then on
    worker.broker._lease_ms = 600_000
    second = await worker.take()
    assert second.job.id == first.job.id
    assert second.attempts == 2
    await worker.say(second, Head(200, "application/json", attempts=2), Data(b"{}"), End())
    assert (await asked).status == 200
    assert await worker.say(first, DOCUMENT, Data(b"late")) == [first.job.id]
    assert await gateway.metric("tessera_jobs_redelivered_total", model=worker.card.model) == 1
    assert await gateway.metric("tessera_jobs_reaped_total", model=worker.card.model, outcome="requeued") == 1


async def test_a_model_whose_worker_is_away_for_a_moment_is_waited_for(gateway, worker):
    await worker.withdraw()

    async def gone():
        return (await gateway.get("/readyz"))[0] == 503

    await eventually(gone, "the gateway knows that the worker is gone")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(chat(worker.card.model)))
        await worker.announce()
        await worker.echo(await worker.take())
    assert asked.result().status == 200


async def test_a_full_queue_rejects(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"max_queued_jobs": 1}))
    first = asyncio.create_task(gateway.post(chat(worker.card.model)))
    await eventually(lambda: _is(worker.waiting(), 1), "one job waits")
    answer = await gateway.post(chat(worker.card.model))
    assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (429, "queue_full", "5")
    await worker.echo(await worker.take())
    assert (await first).status == 200


async def test_a_job_that_waits_too_long_is_answered(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"queue_timeout_s": 0.1, "lease_s": 0.2}))
    answer = await gateway.post(chat(worker.card.model))
    assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (503, "queue_timeout", "1")
    assert await gateway.metric("tessera_jobs_reaped_total", model=worker.card.model, outcome="evicted") == 1


async def _is(value, expected):
    return await value == expected


class TestAClientThatLeaves:
    async def test_while_its_job_waits(self, gateway, worker):
        asked = asyncio.create_task(gateway.post(chat(worker.card.model)))
        await eventually(lambda: _is(worker.waiting(), 1), "the job waits")
        asked.cancel()
        await eventually(lambda: _is(worker.waiting(), 0), "the job is gone")
        await self.counted(gateway, worker)

    @pytest.mark.parametrize("begun", [False, True])
    async def test_while_its_job_runs(self, gateway, worker, begun):
        with capture_logs() as logs:
            asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
            lease = await worker.take()
            if begun:
                await worker.say(lease, STREAM, event("one"))
                await eventually(lambda: self.passed_on(gateway, worker), "the stream has begun")
            asked.cancel()
            await eventually(lambda: worker.cancelled(lease.job.id), "the job is cancelled")
            assert await worker.say(lease, STREAM, event("late")) == [lease.job.id]
            await self.counted(gateway, worker)
        told = [line for line in logs if line["event"] in ("request_failed", "unexpected_error")]
        assert [(line["event"], line["status"], line["log_level"]) for line in told] == [
            ("request_failed", 499, "info")
        ]

    async def test_before_its_body_is_complete(self, gateway, worker):
        before = await gateway.metric("tessera_requests_total", model="unknown", status="499")
        with capture_logs() as logs:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(post(chat(worker.card.model))[:-1])
            await writer.drain()
            await eventually(lambda: self.opened(gateway), "the request has begun")
            writer.close()
            await writer.wait_closed()

            async def counted():
                return await gateway.metric("tessera_requests_total", model="unknown", status="499") == before + 1

            await eventually(counted, "the metric says 499")
        assert "unexpected_error" not in [line["event"] for line in logs]

    async def opened(self, gateway):
        return await gateway.metric("tessera_requests_open") == 1

    async def passed_on(self, gateway, worker):
        return await gateway.metric("tessera_time_to_first_token_seconds_count", model=worker.card.model) == 1

    async def counted(self, gateway, worker):
        async def counted():
            labels = {"model": worker.card.model, "status": "499", "code": "client_closed_request"}
            return await gateway.metric("tessera_requests_total", **labels) == 1

        await eventually(counted, "the metric says 499")
        assert await gateway.metric("tessera_requests_open") == 0
        assert gateway.open_streams == 0


async def test_a_failure_that_nobody_thought_of_is_a_500_and_a_log_line(gateway, worker, monkeypatch):
    def broken(name):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(gateway.app.state.services.catalogue, "target", broken)
    with capture_logs() as logs:
        answer = await gateway.post(chat(worker.card.model))
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert "unexpected_error" in [line["event"] for line in logs]


async def test_a_failure_that_nobody_thought_of_in_the_middle_ends_the_stream_with_an_event(
    gateway, worker, monkeypatch
):
    def broken(failure):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(playback, "error_of", broken)
    url = f"{gateway.url}/v1/chat/completions"
    asked = asyncio.create_task(gateway.http.post(url, json=chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    with capture_logs() as logs:
        async with await asked as answer:
            await worker.say(lease, Failure("internal_error", "It broke."))
            _, error, done, end = (await answer.content.read()).split(b"\n\n")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "internal_error"
    assert b"secret" not in error
    assert (done, end) == (b"data: [DONE]", b"")
    assert [(line["event"], line["job"]) for line in logs if "exc_info" in line] == [("relay_failed", lease.job.id)]
    assert await gateway.metric("tessera_requests_total", model=worker.card.model, code="internal_error") == 1


async def test_what_waits_for_a_model_that_was_retired_is_answered_in_time(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"queue_timeout_s": 1.0, "lease_s": 0.2}))
    waiting = asyncio.create_task(gateway.post(chat(worker.card.model)))

    async def queued():
        return (await depth_of(worker.broker, worker.card.model))[0] == 1

    await eventually(queued, "the request in the queue")
    await worker.retire()
    answer = await waiting
    assert (answer.status, answer.error["code"]) == (503, "queue_timeout")
