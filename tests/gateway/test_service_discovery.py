from __future__ import annotations

from dataclasses import replace

from tests.gateway.scripted import ScriptedWorker


async def test_prometheus_finds_workers_that_have_metrics(gateway, worker, settings, redis_client):
    assert await gateway.get("/sd/workers") == (200, [])
    other = ScriptedWorker(redis_client, settings, replace(worker.card, metrics="10.0.0.7:9100"))
    await other.announce()
    labels = {"model": worker.card.model, "worker": other.id}
    assert await gateway.get("/sd/workers") == (200, [{"targets": ["10.0.0.7:9100"], "labels": labels}])


async def test_while_redis_is_away_prometheus_keeps_what_it_knows(start_gateway, own, own_redis, own_worker):
    gateway = await start_gateway(own)
    own_redis.kill()
    status, body = await gateway.get("/sd/workers")
    assert (status, body["error"]["code"]) == (503, "queue_unavailable")
