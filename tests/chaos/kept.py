"""What a version keeps for long, as it was: files, batches, responses, conversations, adapters, aliases, dead letters.

A gateway is stopped in the middle of its work: one batch and one response have ended, another batch and another
response wait, which has its turn in a conversation, an adapter was loaded, an alias was set, and a request was set
aside. What Redis and the store of files hold then is kept in a file.
``python -m tests.chaos.kept NAME`` writes it, once for each release, so that the next one is held to it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import openai
import pytest
from redis import Redis

from loadtests.chaos.part import Part, RedisPart, run_gateway
from tessera.local.stack import free_port
from tessera.queue import Adapters, Data, DeadLetters, End, Lease, ModelCard, connect
from tessera.settings import Settings
from tests.chaos.wire import CONTINUE, FOLDER, dump, restore
from tests.gateway.scripted import DOCUMENT, USAGE, ScriptedWorker, sent
from tests.gateway.test_adapters import KEY, OPERATOR, Loader, looking
from tests.polling import eventually

KEPT_FOLDER = FOLDER / "kept"
MODEL = "kept"
LINES = 3
ADAPTER, ADAPTER_PATH = "tuned", "/adapters/1"
ALIAS, TARGETS = "small", {ADAPTER: 1, MODEL: 0}
ENDPOINT = "/v1/chat/completions"
# Nothing is too old when it is read again, many versions later.
LONG_S = 10**9
LASTING = {
    "files_ttl_s": LONG_S, "batch_ttl_s": LONG_S, "batch_window_s": LONG_S, "responses_ttl_s": LONG_S,
    "dead_ttl_s": LONG_S, "reply_ttl_s": LONG_S, "queue_timeout_s": 3e9, "reply_timeout_s": 3e9, "lease_s": 2.0,
}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """Attributes:
    keys: of Redis, as ``dump`` tells them.
    files: content of each file of the store in base64, by its path.
    told: what clients had heard, by name: of files their ids and contents, of all else as the API describes it.
    """

    keys: list[list[Any]]
    files: dict[str, str]
    told: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Kept:
        return cls(**json.loads(path.read_text()))

    def restore(self, redis: Redis, store: Path) -> None:
        """Write it all into an empty Redis and an empty store."""
        restore(self.keys, redis)
        for name, content in self.files.items():
            file = store / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(base64.b64decode(content))


def card() -> ModelCard:
    """Of the model that all of it is about."""
    return ModelCard(MODEL, "/models/x", 4096, {"image": 2}, sequences=256, tasks=["generate"])


async def answer(worker: ScriptedWorker, lease: Lease) -> None:
    """As a model that says what it was asked last."""
    body = sent(lease)
    if lease.job.path == "/v1/responses":
        said = {"type": "output_text", "text": said_to(body["input"]), "annotations": [], "logprobs": None}
        message = {"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": [said]}
        told = {"id": body["request_id"], "object": "response", "model": MODEL, "status": "completed"}
        told |= {"output": [message], "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}
        told |= dict(lease.job.echo)
    else:
        message = {"role": "assistant", "content": said_to(body["messages"])}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        told = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": MODEL, "choices": choices}
    await worker.say(lease, DOCUMENT, Data(json.dumps(told).encode()), End(USAGE))


def said_to(asked: Any) -> str:
    """What the model answers: all that it was told, in one line."""
    return "You said: " + json.dumps(asked)


async def begin_batch(client: openai.AsyncOpenAI) -> str:
    """The id of a new batch of ``LINES`` requests."""
    lines = (
        {
            "custom_id": f"r{n}",
            "method": "POST",
            "url": ENDPOINT,
            "body": {"model": MODEL, "messages": _asking(f"{n}?")},
        }
        for n in range(LINES)
    )
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    file = await client.files.create(file=("in.jsonl", text), purpose="batch")
    made = await client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    return made.id


async def batch_as(client: openai.AsyncOpenAI, batch_id: str, *statuses: str) -> dict[str, Any]:
    """What the API tells of a batch, once it is one of these."""
    found: list[Any] = []

    async def there() -> bool:
        found.append(await client.batches.retrieve(batch_id))
        return found[-1].status in statuses

    await eventually(there, f"the batch is {statuses}", within_s=60)
    return dict(found[-1].to_dict())


async def output_of(client: openai.AsyncOpenAI, batch: dict[str, Any]) -> str:
    """The answers of a batch that is complete."""
    return (await client.files.content(batch["output_file_id"])).text


async def items_of(client: openai.AsyncOpenAI, conversation_id: str) -> list[dict[str, Any]]:
    """The items of a conversation, oldest first."""
    return [item.to_dict() async for item in client.conversations.items.list(conversation_id, order="asc")]


def _asking(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def _record(url: str, redis_url: str, redis: Redis, gateway: Part, store: Path) -> Kept:
    settings = Settings(redis_url=redis_url, **LASTING)
    commands = connect(settings, name="worker")
    worker = ScriptedWorker(commands, settings, card())
    await worker.announce()
    told: dict[str, Any] = {}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:

        async def ready() -> bool:
            try:
                return (await client.get("/../readyz", cast_to=object)) is not None
            except openai.APIError:
                return False

        await eventually(ready, "the gateway knows the worker")
        text = "Of a user, with an umlaut: \u00e4"
        file = await client.files.create(file=("notes.txt", text.encode()), purpose="user_data")
        told["file"] = {"object": (await client.files.retrieve(file.id)).to_dict(), "content": text}
        async with worker.serving(lambda lease: answer(worker, lease)):
            ended = await batch_as(client, await begin_batch(client), "completed")
            told["batch"] = {"object": ended, "output": await output_of(client, ended)}
            response = await client.responses.create(model=MODEL, input="My name is Ada.", store=True)
            told["conversation"] = await _converse(client)
        told["response"] = (await client.responses.retrieve(response.id)).to_dict()
        await _name_models(url, worker, Adapters(commands, worker.broker.keys))
        await _set_aside(client, worker)
        [letter] = await DeadLetters(commands, worker.broker.keys).of(MODEL)
        told["dead"] = asdict(letter)
        told["open batch"] = await begin_batch(client)
        await worker.say(await worker.take(), *_first_answer())
        await batch_as(client, told["open batch"], "in_progress")
        open_one = await client.conversations.create()
        waiting = await client.responses.create(model=MODEL, input="Later.", background=True, conversation=open_one.id)
        told |= {"open response": waiting.id, "open conversation": open_one.id}

        async def all_wait() -> bool:
            census = await worker.broker.census(MODEL)
            return (census.waiting, census.batch_waiting) == (1, LINES - 1)

        await eventually(all_wait, "all is in the queue")
        gateway.stop()
        keys = dump(redis)
    await commands.aclose()
    return Kept(keys, _files_in(store), told)


async def _converse(client: openai.AsyncOpenAI) -> dict[str, Any]:
    """A conversation that was begun with an item, and that a response has gone on from."""
    said = [{"type": "input_text", "text": "My name is Grace."}]
    begun: Any = [{"type": "message", "role": "user", "content": said}]
    made = await client.conversations.create(items=begun, metadata={"topic": "names"})
    await client.responses.create(model=MODEL, input="Hello.", conversation=made.id)
    return {"object": made.to_dict(), "items": await items_of(client, made.id)}


async def _name_models(url: str, worker: ScriptedWorker, records: Adapters) -> None:
    loader = Loader(worker, records)
    await loader.look()
    asked = {"lora_name": ADAPTER, "lora_path": ADAPTER_PATH, "base_model_name": MODEL}
    async with looking(loader), aiohttp.ClientSession(url, headers=OPERATOR) as http:

        async def loaded() -> bool:
            # The gateway may not have seen yet that the worker takes adapters.
            async with http.post("/v1/load_lora_adapter", json=asked) as response:
                return response.status == 200

        await eventually(loaded, "the worker has it")
        async with http.put(f"/admin/v1/aliases/{ALIAS}", json={"targets": TARGETS}) as response:
            assert response.status == 200, await response.text()


def _files_in(store: Path) -> dict[str, str]:
    files = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(path.relative_to(store)): base64.b64encode(path.read_bytes()).decode() for path in files}


def _first_answer() -> list[Any]:
    told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": MODEL, "choices": []}
    return [DOCUMENT, Data(json.dumps(told).encode()), End(USAGE)]


async def _set_aside(client: openai.AsyncOpenAI, worker: ScriptedWorker) -> None:
    """Have a request end as many engines as it may."""
    body: Any = {"model": MODEL, "messages": _asking("Crash.")}
    asked = asyncio.create_task(client.chat.completions.create(**body, extra_headers=CONTINUE))
    for _ in range(Settings().max_attempts):
        lease = await worker.take()
        await worker.broker.release(MODEL, [lease], failed=True)
    with pytest.raises(openai.InternalServerError, match="workers died while running this request"):
        await asked


def capture(folder: Path) -> Kept:
    """What a gateway of this version leaves."""
    redis, store, port = RedisPart(folder, None), folder / "store", free_port()
    settings = {
        "redis_url": redis.url, "host": "127.0.0.1", "port": port, "log_format": "json",
        "files_store_url": store.as_uri(), "admin_key": KEY, **LASTING,
    }  # fmt: skip
    gateway = Part("gateway", run_gateway, settings, folder / "gateway.log")
    redis.start()
    try:
        with Redis.from_url(redis.url) as client:
            gateway.start()
            return asyncio.run(_record(f"http://127.0.0.1:{port}", redis.url, client, gateway, store))
    finally:
        gateway.kill()
        redis.kill()


def main(name: str) -> None:
    """Write a file."""
    with TemporaryDirectory(prefix="t-") as folder:
        kept = capture(Path(folder))
    KEPT_FOLDER.mkdir(parents=True, exist_ok=True)
    (KEPT_FOLDER / f"{name}.json").write_text(json.dumps(asdict(kept), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
