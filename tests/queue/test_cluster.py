"""What is asked of a Redis Cluster in other words than of one server."""

from __future__ import annotations

from pathlib import Path

from tessera.queue import Broker, Directory, Job, ModelCard, connect
from tessera.settings import Settings
from tests.queue.topologies import cluster


async def test_the_age_of_a_job_and_the_list_of_workers(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        settings = Settings(redis_url=nodes.url)
        redis = connect(settings, name="test")
        broker = Broker(redis, settings)
        directory = Directory(redis, broker.keys)
        await directory.announce("w", ModelCard("m", "r", 1, metrics="10.0.0.7:9100"), ttl_s=60)
        assert [(worker, card.metrics) for worker, card in await directory.workers()] == [("w", "10.0.0.7:9100")]
        job = Job("a-job", "m", "/v1/chat/completions", b"{}")
        await broker.enqueue(job, reply_to="g")
        key = broker.keys.job("m", job.id)
        await redis.hincrby(key, "arrived_ms", -60_000)
        census = await broker.census("m")
        assert census.waiting == 1
        assert 60 <= census.oldest_s < 90
        await redis.aclose()
