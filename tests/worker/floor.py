"""Workers over one Redis, and the application that they serve."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tessera.queue import Broker, Job, ModelCard, connect
from tessera.settings import Settings
from tessera.worker.frontend import Frontend
from tests.polling import eventually
from tests.worker.jobs import MODEL, answered
from tests.worker.plain_codec import PlainCodec


class Application:
    """Answers each request once it is let go; remembers who ran what, and how many at once."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: Counter[str] = Counter()
        self.dropped: list[str] = []
        self.running = self.most_running = 0
        self.dead = False
        self.first_piece = False
        self.failing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        job_id = dict(scope["headers"])[b"x-request-id"].decode()
        self.begun[job_id] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.failing:
                raise ValueError("it fails on this request")
            await StreamingResponse(self._body(), media_type="text/event-stream")(scope, receive, send)
        except asyncio.CancelledError:
            self.dropped.append(job_id)
            raise
        finally:
            self.running -= 1

    async def _body(self) -> AsyncIterator[bytes]:
        if self.first_piece:
            yield b"begun\n\n"
        await self.go.wait()
        if self.dead:
            raise RuntimeError("EngineDeadError")
        yield b"done"


class Floor:
    """Workers over one Redis."""

    def __init__(self, settings: Settings, stack: AsyncExitStack):
        self.settings, self.stack = settings, stack
        self.tasks: dict[Frontend, asyncio.Task[None]] = {}

    def start(
        self, app: Application, *, sequences: int = 4, settings: Settings | None = None, blocking_s: float = 2.0
    ) -> Frontend:
        redis = connect(self.settings, name="worker", blocking_s=blocking_s)
        self.stack.push_async_callback(redis.aclose)
        card = ModelCard(MODEL, "root", 1, sequences=sequences)
        made = Frontend(settings or self.settings, redis, app, card, lambda: app.dead, codec=PlainCodec())
        self.tasks[made] = asyncio.create_task(made.run())
        self.stack.push_async_callback(self.kill, made)
        return made

    async def kill(self, frontend: Frontend) -> None:
        self.tasks[frontend].cancel()
        await asyncio.wait([self.tasks[frontend]])

    async def ended(self, frontend: Frontend) -> None:
        await asyncio.wait_for(asyncio.shield(self.tasks[frontend]), 15)


async def all_answered(broker: Broker, jobs: list[Job]) -> None:
    async def done() -> bool:
        return all([await answered(broker, job) for job in jobs])

    await eventually(done, "all jobs are answered", within_s=20)
