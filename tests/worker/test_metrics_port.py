"""Workers' metrics, where Prometheus reaches them, and how it finds them."""

from __future__ import annotations

import aiohttp
import pytest
import redis.asyncio as aioredis

from tessera.queue import Directory, ModelCard
from tessera.queue.keys import Keys
from tessera.settings import SIMULATED, Settings
from tessera.worker import metrics_port
from tessera.worker.metrics_port import serve_metrics
from tessera.worker.replica import Replica
from tests.polling import eventually
from tests.worker.test_engine_port import free_port


async def ask(place: str, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.request(method, f"http://{place}{path}") as response:
        return response.status, await response.text()


async def test_a_worker_announces_where_its_metrics_are(redis_client: aioredis.Redis, settings: Settings) -> None:
    more = {"engine": SIMULATED, "worker_metrics_port": free_port(), "lease_s": 60.0}
    replicas = [Replica(settings.model_copy(update=more)) for _ in range(2)]
    directory = Directory(redis_client, Keys(settings.redis_prefix))
    try:
        for replica in replicas:
            await replica.start()

        async def announced() -> bool:
            return len(await directory.workers()) == len(replicas)

        await eventually(announced, "both are announced")
        places = {card.metrics for _, card in await directory.workers()}
        assert len(places) == len(replicas), "the second one found another port"
        assert f"127.0.0.1:{more['worker_metrics_port']}" in places
        for place in places:
            status, text = await ask(place)
            assert status == 200
            assert "tessera_worker_media_reads_total" in text
            assert (await ask(place, "/v1/chat/completions", "POST"))[0] == 404
    finally:
        for replica in replicas:
            await replica.stop()
    assert await directory.workers() == []


async def test_without_a_port_there_is_nothing(settings: Settings) -> None:
    async with serve_metrics(settings) as place:
        assert place == ""


@pytest.mark.parametrize(
    ("url", "own", "announced"),
    [
        ("redis://127.0.0.1:6379/0", "", "127.0.0.1:"),
        ("redis+sentinel://[::1]:26379,other.invalid:1/name", "", "[::1]:"),
        ("redis://other.invalid:6379", "192.0.2.7", "192.0.2.7:"),
    ],
)
async def test_the_address_is_that_on_the_way_to_redis(settings: Settings, url: str, own: str, announced: str) -> None:
    more = {"redis_url": url, "worker_metrics_address": own, "worker_metrics_port": free_port()}
    async with serve_metrics(settings.model_copy(update=more)) as place:
        assert place == f"{announced}{more['worker_metrics_port']}"


async def test_where_no_port_can_be_had_the_worker_serves_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(metrics_port.socket, "create_server", refuse)
    async with serve_metrics(settings.model_copy(update={"worker_metrics_port": 9100})) as place:
        assert place == ""


async def test_a_silent_worker_and_one_that_nobody_can_read_are_left_out(
    redis_client: aioredis.Redis, settings: Settings
) -> None:
    keys = Keys(settings.redis_prefix)
    directory = Directory(redis_client, keys)
    await directory.announce("b", ModelCard("m", "r", 1, metrics="10.0.0.2:9100"), ttl_s=60)
    await directory.announce("a", ModelCard("m", "r", 1), ttl_s=60)
    await directory.announce("silent", ModelCard("m", "r", 1), ttl_s=-5)
    await directory.announce("damaged", ModelCard("m", "r", 1), ttl_s=60)
    await redis_client.hset(keys.cards, "damaged", "{")
    assert [(worker, card.metrics) for worker, card in await directory.workers()] == [("a", ""), ("b", "10.0.0.2:9100")]
