"""A gateway's hub, and a worker that answers by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import redis.asyncio as aioredis

from tessera.queue import Append, Broker, End, Entry, Failure, Job, Lease, ReplyHub, ReplyStream, connect, new_job_id
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.corner import MODEL

GATEWAY = "gw"
END = End({"total_tokens": 1}).encode()


class Bench:
    """A gateway's hub, and a worker that answers by hand."""

    def __init__(self, settings: Settings, client: aioredis.Redis, subscription: aioredis.Redis):
        self.settings, self.client, self.subscription = settings, client, subscription
        self.broker = Broker(client, settings)
        self.hub = ReplyHub(subscription, self.broker, settings, GATEWAY)
        self.running = asyncio.create_task(self.hub.run())

    async def listening(self) -> None:
        channel = self.broker.keys.gateway(GATEWAY)

        async def subscribed() -> bool:
            return (await self.client.pubsub_numsub(channel))[0][1] == 1

        await eventually(subscribed, "the hub has subscribed")

    async def enqueue(self, stream: ReplyStream) -> None:
        await self.broker.enqueue(stream.job, reply_to=GATEWAY)
        stream.enqueued = True

    async def lease(self, count: int = 1) -> list[Lease]:
        return await self.broker.lease(MODEL, "w", free=1000, capacity=1000, most=count)

    async def say(self, lease: Lease, offset: int, *entries: bytes, final: bool = False) -> None:
        assert await self.broker.append(MODEL, [Append(lease.job.id, lease.epoch, offset, entries, final)]) == []

    async def unheard(self, lease: Lease, offset: int, *entries: bytes, final: bool = False) -> None:
        """Write as ``say`` does, but nobody hears the message."""
        key, nobody = self.broker.keys.job(MODEL, lease.job.id), "nobody"
        await self.client.hset(key, "reply_to", nobody)
        await self.say(lease, offset, *entries, final=final)
        await self.client.hset(key, "reply_to", self.broker.keys.gateway(GATEWAY))


def job() -> Job:
    return Job(new_job_id(), MODEL, "/", b"{}")


@asynccontextmanager
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        clients = [connect(settings, name=name) for name in ("bench", "subscription")]
        for client in clients:
            stack.push_async_callback(client.aclose)
        made = Bench(settings, *clients)
        try:
            yield made
        finally:
            made.running.cancel()
            await asyncio.wait([made.running])


async def whole(stream: ReplyStream) -> list[Entry]:
    entries: list[Entry] = []
    async with asyncio.timeout(20):
        while not entries or not isinstance(entries[-1], End | Failure):
            entries += await stream.next()
    return entries


async def heard(stream: ReplyStream, count: int) -> None:
    await eventually(lambda: stream.offset == count, f"{count} entries have come")
