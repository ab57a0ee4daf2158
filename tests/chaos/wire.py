"""All that a version of the server keeps in Redis, as it was: written by ``python -m tests.chaos.wire NAME [COMMIT]``.

A server of that version is stopped in the middle of its work: one request is answered, one is being answered, and one
with an image waits. What Redis holds then is kept in a file, key by key.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from redis import Redis, exceptions

from loadtests.chaos.part import Part, RedisPart, run_gateway, run_worker
from loadtests.chaos.release import checked_out, new_part
from tessera.local.stack import free_port
from tessera.queue.keys import Keys
from tessera.settings import SIMULATED, Settings
from tests.e2e.media import image_part, picture, text_part, user
from tests.polling import eventually, eventually_sync

FOLDER = Path(__file__).parent / "wire"
TOKENS, SEEN = 30, 8
# Nothing expires before it is read again, many versions later, but the lease of the worker that is gone.
KEPT = {
    "engine": SIMULATED, "simulated_seats": 1, "simulated_answer_tokens": TOKENS, "simulated_decode_step_ms": 100.0,
    "queue_timeout_s": 3e9, "reply_timeout_s": 3e9, "reply_ttl_s": 10**9, "media_hold_lease_s": 3e9, "lease_s": 2.0,
}  # fmt: skip
CONTINUE = {"X-Tessera-On-Disconnect": "continue"}


@dataclass(frozen=True)
class Wire:
    """Attributes:
    keys: of Redis, as ``dump`` tells them.
    requests: ids of ``answered``, ``begun`` and ``waiting``.
    told: what the first two had said by then.
    """

    keys: list[list[Any]]
    requests: dict[str, str]
    told: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Wire:
        return cls(**json.loads(path.read_text()))

    def restore(self, redis: Redis) -> None:
        """Write it all into an empty Redis."""
        restore(self.keys, redis)


def restore(keys: list[list[Any]], redis: Redis) -> None:
    """Write what ``dump`` has read into an empty Redis, to live as long from now on as it had then."""
    for name, kind, content, *lives_ms in keys:
        key = _raw(name)
        if kind == "string":
            redis.set(key, _raw(content))
        elif kind == "hash":
            redis.hset(key, mapping={_raw(field): _raw(value) for field, value in content})
        elif kind == "list":
            redis.rpush(key, *map(_raw, content))
        elif kind == "set":
            redis.sadd(key, *map(_raw, content))
        elif kind == "zset":
            redis.zadd(key, {_raw(member): score for member, score in content})
        else:
            raise ValueError(f"a key of type {kind}")
        for life_ms in lives_ms:
            redis.pexpire(key, life_ms)


def dump(redis: Redis) -> list[list[Any]]:
    """Name, type and content of each key, and how long it lives yet, in ms, where that is limited."""
    keys = []
    for key in sorted(set(redis.scan_iter())):
        kind = redis.type(key).decode()
        content: Any
        if kind == "string":
            content = _text(redis.get(key))
        elif kind == "hash":
            content = sorted([_text(f), _text(v)] for f, v in redis.hgetall(key).items())
        elif kind == "list":
            content = [_text(item) for item in redis.lrange(key, 0, -1)]
        elif kind == "set":
            content = sorted(_text(member) for member in redis.smembers(key))
        elif kind == "zset":
            content = [[_text(m), score] for m, score in redis.zrange(key, 0, -1, withscores=True)]
        else:
            raise ValueError(f"{key!r} is of type {kind}")
        life_ms = redis.pttl(key)
        keys.append([_text(key), kind, content, *([life_ms] if life_ms > 0 else [])])
    return keys


def _text(raw: bytes) -> str:
    """Readable where it can be."""
    try:
        return "=" + raw.decode()
    except UnicodeDecodeError:
        return "~" + base64.b64encode(raw).decode()


def _raw(text: str) -> bytes:
    return text[1:].encode() if text[0] == "=" else base64.b64decode(text[1:])


def capture(folder: Path, tree: Path | None) -> Wire:
    """What a server of this version, or of that in a tree, leaves."""
    redis = RedisPart(folder, None)
    port = free_port()
    settings = {"redis_url": redis.url, "host": "127.0.0.1", "port": port, "log_format": "json", **KEPT}
    gateway = new_part("gateway", run_gateway, settings, folder / "gateway.log", tree)
    worker = new_part("worker", run_worker, settings, folder / "worker.log", tree)
    redis.start()
    try:
        with Redis.from_url(redis.url) as client:
            eventually_sync(lambda: _answers(client), "Redis answers")
            worker.start()
            gateway.start()
            return asyncio.run(_record(f"http://127.0.0.1:{port}", client, worker))
    finally:
        gateway.kill()
        redis.kill()


async def _record(url: str, redis: Redis, worker: Part) -> Wire:
    async with aiohttp.ClientSession(url, headers=CONTINUE) as http:

        async def ready() -> bool:
            try:
                async with http.get("/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(ready, "a worker serves")
        requests, told = {}, {}
        for name, events in (("answered", None), ("begun", SEEN)):
            async with http.post("/v1/chat/completions", json=_chat(name)) as response:
                requests[name] = response.headers["X-Tessera-Request-Id"]
                pieces = [await response.content.readuntil(b"\n\n") for _ in range(events or 0)]
                told[name] = (b"".join(pieces) if events else await response.read()).decode()
        image = image_part(picture(size=(8, 8)))
        waiting = asyncio.create_task(http.post("/v1/chat/completions", json=_chat("waiting", image)))
        queue = Keys(Settings().redis_prefix).queue(SIMULATED)
        await eventually(lambda: redis.zcard(queue) == 1, "one waits")
        worker.stop()
        requests["waiting"] = redis.zrange(queue, 0, 0)[0].decode()
        keys = dump(redis)
        worker.kill()
        waiting.cancel()
    return Wire(keys, requests, told)


def _chat(text: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"model": SIMULATED, "stream": True, "messages": user(*parts, text_part(text))}


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except exceptions.ConnectionError:
        return False


def main(name: str, revision: str = "") -> None:
    """Write a file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="t-")))
        tree = stack.enter_context(checked_out(revision, folder / "tree")) if revision else None
        wire = capture(folder, tree)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(asdict(wire), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
