"""A worker that says what the test tells it to, and what requests and answers look like."""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio as aioredis

from tessera.local.redis_server import executable
from tessera.queue import Append, Broker, Data, Directory, End, Entry, Head, Lease, ModelCard
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.corner import depth_of

STREAM = Head(200, "text/event-stream; charset=utf-8")
DOCUMENT = Head(200, "application/json")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class ScriptedWorker:
    """A worker on the real queue, without an engine."""

    def __init__(self, redis: aioredis.Redis, settings: Settings, card: ModelCard):
        self.card = card
        self.broker = Broker(redis, settings)
        self.id = f"worker-{secrets.token_hex(4)}"
        self._directory = Directory(redis, self.broker.keys)
        self._written: dict[str, int] = {}

    async def announce(self, *, ttl_s: float = 600) -> None:
        await self._directory.announce(self.id, self.card, ttl_s=ttl_s)

    async def withdraw(self) -> None:
        await self._directory.withdraw(self.id)

    async def retire(self) -> None:
        await self.withdraw()
        await self._directory.retire(self.card.model)

    async def take(self) -> Lease:
        """The next job."""
        taken: list[Lease] = []

        async def leased() -> bool:
            taken.extend(await self.broker.lease(self.card.model, self.id, free=10_000, capacity=10_000, most=1))
            return bool(taken)

        await eventually(leased, "a job in the queue")
        return taken[0]

    async def say(self, lease: Lease, *entries: Entry) -> list[str]:
        """Append to the job's reply. Returns what the queue says was lost."""
        return await self._append(lease, entries, final=isinstance(entries[-1], End))

    async def _append(self, lease: Lease, entries: Sequence[Entry], *, final: bool) -> list[str]:
        job_id = lease.job.id
        offset = self._written.get(job_id, 0)
        self._written[job_id] = offset + len(entries)
        raw = [e.encode() for e in entries]
        return await self.broker.append(self.card.model, [Append(job_id, lease.epoch, offset, raw, final)])

    async def finish(self, lease: Lease, *entries: Entry) -> list[str]:
        """The same with the last entries, whatever they are."""
        return await self._append(lease, entries, final=True)

    async def waiting(self) -> int:
        return (await depth_of(self.broker, self.card.model))[0]

    async def running(self) -> int:
        return (await depth_of(self.broker, self.card.model))[1]

    async def cancelled(self, job_id: str) -> bool:
        """Whether the queue was told that nobody wants the job any more."""
        key = self.broker.keys.job(self.card.model, job_id)
        return bool(await self.broker._redis.hget(key, "state") == b"cancelled")

    @asynccontextmanager
    async def serving(self, answer: Callable[[Lease], Awaitable[None]]) -> AsyncIterator[None]:
        """Answer every job that comes, all at once, while the context lasts."""

        over = False

        async def serve() -> None:
            async with asyncio.TaskGroup() as jobs:
                while not over:
                    leases = await self.broker.lease(self.card.model, self.id, free=10_000, capacity=10_000, most=64)
                    for lease in leases:
                        jobs.create_task(answer(lease))  # type: ignore[arg-type]
                    await asyncio.sleep(0 if leases else 0.005)

        async with asyncio.TaskGroup() as serving:  # which ends the test when it fails itself
            serving.create_task(serve())
            try:
                yield
            finally:
                over = True

    async def echo(self, lease: Lease) -> None:
        """Answer with the request itself."""
        body = json.loads(lease.job.body)
        if body.get("stream"):
            await self.say(lease, STREAM, event("echo"), Data(b"data: [DONE]\n\n"), End(USAGE))
        else:
            await self.say(lease, DOCUMENT, Data(json.dumps({"echo": body}).encode()), End(USAGE))


def event(text: str) -> Data:
    """A server-sent event with a piece of an answer."""
    return Data(b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n")


def chat(model: str, *parts: Any, **fields: Any) -> dict[str, Any]:
    """A chat request; without parts its content is a plain string."""
    content = list(parts) if parts else "Hello"
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


def sent(lease: Lease) -> dict[str, Any]:
    """The body that arrived at the worker."""
    body: dict[str, Any] = json.loads(lease.job.body)
    return body


@dataclass(frozen=True)
class Gateway:
    """The real application under a real server.

    Attributes:
        app: for what only shows in its memory.
        listening: whether it takes new connections.
        requests: how many it is answering.
    """

    url: str
    http: aiohttp.ClientSession
    app: Any
    stop: Callable[[], Awaitable[None]]
    listening: Callable[[], bool]
    requests: Callable[[], int]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(self.url + path) as response:
            return response.status, await response.json(content_type=None)

    async def post(self, body: Any, path: str = "/v1/chat/completions", **options: Any) -> Answer:
        # As a file, which is sent piece by piece: all at once would stop the loop that the gateway runs in, too.
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        options["headers"] = {"Content-Type": "application/json", **options.get("headers", {})}
        async with self.http.post(self.url + path, data=data, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric over the series that have these labels."""
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in (await self.metrics()).splitlines()
            if line.partition("{")[0].partition(" ")[0] == name and all(f'{k}="{v}"' in line for k, v in labels.items())
        )

    async def metrics(self) -> str:
        async with self.http.get(self.url + "/metrics") as response:
            return await response.text()

    @property
    def open_streams(self) -> int:
        return int(self.app.state.services.hub.open_streams)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error; every one has the same four fields, whatever stands beside it."""
        body = self.json
        assert set(body) in ({"error"}, {"type", "error"})
        assert set(body["error"]) == {"message", "type", "param", "code"}
        error: dict[str, Any] = body["error"]
        return error


class OwnRedis:
    """A Redis that a test may kill, hang and start again; it keeps its data."""

    def __init__(self, folder: Path):
        self.url = f"unix://{folder / 's'}"
        options = {"port": "0", "unixsocket": folder / "s", "dir": folder, "save": "", "appendonly": "yes"}
        self._argv = [executable(), *(part for k, v in options.items() for part in (f"--{k}", v))]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        async with aioredis.Redis.from_url(self.url) as client:

            async def answers() -> bool:
                try:
                    return bool(await client.ping())
                except aioredis.ConnectionError:
                    return False

            await eventually(answers, "Redis answers")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
