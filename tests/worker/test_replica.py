"""A replica with adapters: what is recorded is loaded before it is there, and what comes later soon after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson
import pytest
import redis.asyncio as aioredis

from tessera.queue import Adapter, Adapters, Broker, Data, Directory, Job, new_job_id
from tessera.queue.keys import Keys
from tessera.settings import SIMULATED, Settings
from tessera.worker import adapters as followed
from tessera.worker import replica as replicas
from tessera.worker.connector import MediaReader
from tessera.worker.replica import Replica
from tessera.worker.simulated import SimulatedEngine
from tests.polling import eventually
from tests.queue.corner import log_of
from tests.worker.adapter_host import Host

GATEWAY = "g"


class Engine(SimulatedEngine):
    """A simulated one that takes adapters, and answers with their names."""

    def __init__(self, settings: Settings, reader: MediaReader):
        super().__init__(settings, reader)
        self.host = self.adapters = Host()
        self.card = replace(self.card, most_rank=self.host.most_rank)


@pytest.fixture
async def started(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Replica]]:
    monkeypatch.setattr(replicas, "build_engine", Engine)
    monkeypatch.setattr(followed, "LOOK_EVERY_S", 0.02)
    made: list[Replica] = []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            replica = Replica(
                settings.model_copy(update={"engine": SIMULATED, "drain_timeout_s": 0.0, "lease_s": 60.0})
            )
            made.append(replica)
            stack.push_async_callback(replica.stop)
        yield made


async def told(directory: Directory) -> list[list[str]]:
    """The adapters that each live worker says it has."""
    return [sorted(card.adapters) for _, card in await directory.workers()]


async def test_a_worker_has_what_is_recorded_when_it_says_that_it_is_there(
    started: list[Replica], settings: Settings, redis_client: aioredis.Redis
) -> None:
    keys = Keys(settings.redis_prefix)
    records, directory = Adapters(redis_client, keys), Directory(redis_client, keys)
    first = Adapter("a", SIMULATED, "/adapters/a")
    await records.replace("a", None, first, most=9)
    await started[0].start()

    async def both() -> bool:
        return await told(directory) == [["a"], ["a"]]

    async def there() -> bool:
        return bool(await directory.workers())

    await eventually(there, "it is there")
    assert await told(directory) == [["a"]], "and has it from the beginning"
    await started[1].start()
    await eventually(both, "so has one that starts later")
    await records.replace("b", None, Adapter("b", SIMULATED, "/adapters/b"), most=9)

    async def second() -> bool:
        return await told(directory) == [["a", "b"], ["a", "b"]]

    await eventually(second, "both load what comes later")
    await records.replace("a", first, None, most=9)

    async def dropped() -> bool:
        return await told(directory) == [["b"], ["b"]]

    await eventually(dropped, "and drop what goes")


async def test_a_job_for_an_adapter_that_is_gone_is_told_so(
    started: list[Replica], settings: Settings, redis_client: aioredis.Redis
) -> None:
    broker = Broker(redis_client, settings)
    await redis_client.zadd(broker.keys.gateways(SIMULATED), {GATEWAY: 2**52})
    await started[0].start()
    body = orjson.dumps({"model": "gone", "prompt": "Hello", "max_tokens": 1})
    job = Job(new_job_id(), SIMULATED, "/v1/completions", body, adapter="gone")
    await broker.enqueue(job, reply_to=GATEWAY)

    async def answered() -> bool:
        return len(await log_of(broker, job, SIMULATED)) > 2

    await eventually(answered, "it is answered")
    answer = b"".join(entry.body for entry in await log_of(broker, job, SIMULATED) if isinstance(entry, Data))
    assert orjson.loads(answer)["error"]["code"] == "model_not_found"
