"""Redis is killed, hangs, and comes back; the gateway answers in bounded time and needs no restart."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from tessera.queue import Data, End
from tests.e2e.media import image_part
from tests.gateway.scripted import STREAM, chat, event
from tests.polling import eventually

# Several times the limit of one command (1 s), and far below "for ever".
BOUNDED_S = 15


@pytest.fixture
async def gateway(start_gateway, own, own_worker):
    return await start_gateway(own)


async def ready(gateway):
    return (await gateway.get("/readyz"))[0] == 200


@pytest.mark.parametrize("how", ["kill", "hang"])
async def test_a_request_is_answered_while_redis_is_away_and_after_it_is_back(gateway, own_redis, own_worker, how):
    getattr(own_redis, how)()
    async with asyncio.timeout(BOUNDED_S):
        answer = await gateway.post(chat(own_worker.card.model))
        assert (answer.status, answer.error["code"]) == (503, "queue_unavailable")
        assert answer.headers["Retry-After"] == "5"
        status, readiness = await gateway.get("/readyz")
        assert (status, readiness["redis"]) == (503, "unreachable")
        assert (await gateway.http.get(gateway.url + "/livez")).status == 200
        assert (
            await gateway.metric("tessera_requests_total", code="queue_unavailable", model=own_worker.card.model) == 1
        )
    await own_redis.start() if how == "kill" else own_redis.go_on()
    await eventually(lambda: ready(gateway), "the gateway is ready again")
    async with own_worker.serving(own_worker.echo):
        assert (await gateway.post(chat(own_worker.card.model))).status == 200


@pytest.mark.parametrize("how", ["kill", "hang"])
async def test_a_stream_goes_on_after_an_outage(gateway, own_redis, own_worker, how):
    asked = asyncio.create_task(gateway.post(chat(own_worker.card.model, stream=True)))
    lease = await own_worker.take()
    await own_worker.say(lease, STREAM, event("one"))
    getattr(own_redis, how)()

    async def noticed():
        return not gateway.app.state.services.catalogue.reachable

    await eventually(noticed, "the gateway knows that Redis is away")
    await own_redis.start() if how == "kill" else own_redis.go_on()
    await eventually(lambda: ready(gateway), "the gateway is ready again")
    await own_worker.say(lease, event("two"), Data(b"data: [DONE]\n\n"), End())
    assert (await asked).body == event("one").body + event("two").body + b"data: [DONE]\n\n"


async def test_the_seat_of_a_client_that_left_during_an_outage_is_free_when_redis_is_back(
    gateway, own_redis, own_worker
):
    asked = asyncio.create_task(gateway.post(chat(own_worker.card.model, stream=True)))
    lease = await own_worker.take()
    await own_worker.say(lease, STREAM, event("one"))
    own_redis.hang()
    asked.cancel()
    await eventually(lambda: gateway.open_streams == 0, "the gateway knows that the client has left")
    await eventually(lambda: not gateway.app.state.services.catalogue.reachable, "it knows that Redis is away")
    own_redis.go_on()
    await eventually(lambda: own_worker.cancelled(lease.job.id), "its job is cancelled")
    assert await own_worker.running() == 0


async def test_a_request_that_redis_hears_of_too_late_does_not_run(gateway, own_redis, own_worker):
    own_redis.hang()
    answer = await gateway.post(chat(own_worker.card.model))
    assert (answer.status, answer.error["code"]) == (503, "queue_unavailable")
    own_redis.go_on()
    abandoned = gateway.app.state.services.abandoned
    await abandoned.settle(at_most_s=BOUNDED_S)
    assert await own_worker.waiting() == 0
    async with own_worker.serving(own_worker.echo):
        assert (await gateway.post(chat(own_worker.card.model))).status == 200


async def test_a_stream_ends_with_an_error_when_the_outage_is_too_long(start_gateway, own, own_redis, own_worker):
    gateway = await start_gateway(own.model_copy(update={"redis_outage_s": 0.5}))
    asked = asyncio.create_task(gateway.post(chat(own_worker.card.model, stream=True)))
    await own_worker.say(await own_worker.take(), STREAM, event("one"))

    async def begun():
        return await gateway.metric("tessera_time_to_first_token_seconds_count", model=own_worker.card.model) == 1

    await eventually(begun, "the stream has begun")
    own_redis.kill()
    first, error, done, _ = (await asyncio.wait_for(asked, BOUNDED_S)).body.split(b"\n\n")
    assert first + b"\n\n" == event("one").body
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "queue_unavailable"
    assert done == b"data: [DONE]"


@pytest.mark.parametrize("how", ["kill", "hang"])
async def test_only_requests_with_media_need_the_redis_for_media(start_gateway, settings, worker, own_redis, how):
    separate = {"media_redis_url": own_redis.url, "redis_timeout_s": 1.0}
    gateway = await start_gateway(settings.model_copy(update=separate))
    picture = chat(worker.card.model, image_part())
    async with worker.serving(worker.echo), asyncio.timeout(BOUNDED_S):
        assert (await gateway.post(picture)).status == 200
        getattr(own_redis, how)()
        answer = await gateway.post(picture)
        assert (answer.status, answer.error["code"]) == (503, "media_store_unavailable")
        assert answer.headers["Retry-After"] == "5"
        assert (await gateway.post(chat(worker.card.model))).status == 200
        await own_redis.start() if how == "kill" else own_redis.go_on()

        async def answered():
            return (await gateway.post(picture)).status == 200

        await eventually(answered, "images are taken again")


async def test_a_gateway_starts_without_redis(start_gateway, own, own_redis, own_worker):
    own_redis.kill()
    gateway = await start_gateway(own)
    for answer in (await gateway.post(chat("m")), await gateway.post(b"{}", "/v1/completions")):
        assert answer.error["code"] in ("queue_unavailable", "missing_required_parameter")
    async with gateway.http.get(gateway.url + "/v1/models") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (503, "queue_unavailable")
    async with gateway.http.get(gateway.url + "/v1/models/m") as response:
        assert response.status == 503
    await own_redis.start()
    await eventually(lambda: ready(gateway), "the gateway is ready", within_s=60)


async def test_an_outage_is_logged_once(gateway, own_redis):
    with capture_logs() as logs:
        own_redis.kill()
        for _ in range(3):
            await gateway.get("/readyz")
        await gateway.app.state.services.catalogue.refresh()
    assert [line["event"] for line in logs].count("redis_unreachable") == 1


async def test_metrics_do_not_wait_for_a_redis_that_hangs(gateway, own_redis, own_worker):
    model = own_worker.card.model
    assert f'tessera_queue_depth{{model="{model}"}} 0.0' in await gateway.metrics()
    own_redis.hang()
    await eventually(lambda: not gateway.app.state.services.catalogue.reachable, "the gateway knows that Redis hangs")
    text = await gateway.metrics()
    assert "tessera_queue_depth{" not in text
    assert f'tessera_workers{{model="{model}"}} 1.0' in text
