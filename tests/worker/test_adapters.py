"""A worker's adapters are those that are recorded for its model, without an engine."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import redis.asyncio as aioredis
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tessera.errors import AdapterUnavailable, ModelNotFound
from tessera.queue import Adapter, Adapters
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tessera.worker import adapters as module
from tessera.worker import bridge
from tessera.worker.adapters import AdaptedApplication, FollowedAdapters
from tessera.worker.vllm_adapters import VllmAdapters, adapters_of
from tests.polling import eventually
from tests.worker.adapter_host import Host


@pytest.fixture
def records(redis_client: aioredis.Redis, settings: Settings) -> Adapters:
    return Adapters(redis_client, Keys(settings.redis_prefix))


async def record(records: Adapters, path: str, name: str = "a", *, model: str = "m") -> Adapter:
    before, adapter = await records.find(name), Adapter(name, model, path)
    assert await records.replace(name, before, adapter, most=9)
    return adapter


async def forget(records: Adapters, adapter: Adapter) -> None:
    assert await records.replace(adapter.name, adapter, None, most=9)


async def test_what_is_recorded_is_loaded_and_dropped_when_it_no_longer_is(records: Adapters, tmp_path: Path) -> None:
    first = await record(records, str(tmp_path))
    await record(records, "/of/another", "b", model="other")
    host = Host(static="/by/argument")
    followed = FollowedAdapters(host, records, "m")
    await followed.look()
    of_arguments = {"root": "/by/argument", "version": ""}
    # What clients are told of a folder is its name.
    assert followed.told() == {"a": {"root": tmp_path.name, "version": first.version}, "static": of_arguments}
    await followed.look()
    assert host.loads == [str(tmp_path)], "once"
    second = await record(records, "/a/2")
    await followed.look()
    assert followed.told()["a"] == {"root": "/a/2", "version": second.version}
    await forget(records, second)
    await followed.look()
    assert followed.told() == {"static": of_arguments}


async def test_what_cannot_be_loaded_is_told_and_the_version_before_stays(
    records: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await record(records, "/a/1")
    host = Host()
    host.missing = {"/a/2"}
    followed = FollowedAdapters(host, records, "m")
    await followed.look()
    second = await record(records, "/a/2")
    await followed.look()
    assert followed.told()["a"] == {"error": "No adapter found for /a/2", "version": second.version}
    assert host.loaded() == {"a": "/a/1"}
    await followed.look()
    assert host.loads == ["/a/1", "/a/2"], "not again and again"
    assert await records.replace("a", second, first, most=9)
    await followed.look()
    assert followed.told()["a"] == {"root": "/a/1", "version": first.version}
    assert host.loads == ["/a/1", "/a/2"], "it is still there"
    assert await records.replace("a", first, second, most=9)
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    host.missing = set()
    await followed.look()
    assert followed.told()["a"]["root"] == "/a/2", "it may be there later"


async def test_changes_are_announced(records: Adapters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    host, announced = Host(), []
    followed = FollowedAdapters(host, records, "m")

    async def changed() -> None:
        announced.append([*followed.told()])

    running = asyncio.create_task(followed.run(changed))
    adapter = await record(records, "/a/1")
    await eventually(lambda: announced == [["a"]], "it is loaded")
    await forget(records, adapter)
    await eventually(lambda: announced == [["a"], []], "it is dropped")
    await record(records, "/b", "b", model="other")
    host.paths["b"] = "/b"  # as a request may have had it loaded, between two looks
    await eventually(lambda: announced == [["a"], [], ["b"]], "it is told as well")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_while_redis_is_away_all_stays(records: Adapters, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = await record(records, "/a/1")
    followed = FollowedAdapters(Host(), records, "m")
    await followed.look()

    async def away(*_: Any) -> Any:
        raise RedisConnectionError

    monkeypatch.setattr(records, "of", away)
    monkeypatch.setattr(records, "find", away)
    await followed.look()
    assert followed.told()["a"]["version"] == adapter.version
    await followed.require("a")
    with pytest.raises(AdapterUnavailable):
        await followed.require("b")


async def test_a_request_for_an_adapter_that_was_just_recorded_waits_until_it_is_loaded(records: Adapters) -> None:
    host = Host()
    host.missing = {"/gone"}
    followed = FollowedAdapters(host, records, "m")
    asked: list[str] = []

    async def engine(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(",".join(host.loaded()))
        await PlainTextResponse("done")(scope, receive, send)

    inner = AdaptedApplication(engine, followed)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        wanted = scope["path"].removeprefix("/")
        await inner({**scope, "state": {"adapter": wanted} if wanted else {}}, receive, send)

    await record(records, "/a/1")
    await record(records, "/gone", "b")
    await record(records, "/c", "c", model="other")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://w") as http:
        assert (await http.get("/")).text == "done"
        assert [(await http.get("/a")).text for _ in range(2)] == ["done", "done"]
        assert (asked, host.loads) == (["", "a", "a"], ["/a/1"])
        for name, kind in (("b", AdapterUnavailable), ("c", ModelNotFound), ("d", ModelNotFound)):
            answer = await http.get(f"/{name}")
            assert (answer.status_code, json.loads(answer.content)["error"]["code"]) == (kind.status, kind.code)
    assert len(asked) == 3


class Client:
    """vLLM's engine, as far as adapters go."""

    def __init__(self, lora_config: Any) -> None:
        self.vllm_config = SimpleNamespace(lora_config=lora_config)
        self.added: list[Any] = []

    async def add_lora(self, request: Any) -> bool:
        if request.lora_path == "/gone":
            raise RuntimeError("gone")
        self.added.append(request)
        return True


class Counter:
    value = 0

    def inc(self, by: int) -> int:
        self.value += by
        return self.value


class Request:
    """vLLM's ``LoRARequest``."""

    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str, **options: bool):
        self.lora_name, self.lora_int_id, self.lora_path, self.options = lora_name, lora_int_id, lora_path, options


async def test_vllm_gets_each_version_as_an_adapter_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "vllm_name", {"LoRARequest": Request}.get)
    client = Client(SimpleNamespace(max_lora_rank=8))
    models = SimpleNamespace(lora_id_counter=Counter(), lora_requests={})
    made = adapters_of(client, SimpleNamespace(state=SimpleNamespace(openai_serving_models=models)))
    assert isinstance(made, VllmAdapters)
    assert made.most_rank == 8
    await made.load(Adapter("a", "m", "/a/1"))
    with pytest.raises(RuntimeError, match="gone"):
        await made.load(Adapter("a", "m", "/gone"))
    assert made.loaded() == {"a": "/a/1"}
    await made.load(Adapter("a", "m", "/a/2", fused=True))
    assert made.loaded() == {"a": "/a/2"}
    assert [(r.lora_int_id, r.options) for r in client.added] == [(1, {}), (3, {"is_3d_lora_weight": True})]
    made.unload("a")
    assert models.lora_requests == {}


def test_an_engine_that_was_not_started_for_them_takes_none() -> None:
    models = SimpleNamespace(openai_serving_models=SimpleNamespace())
    assert adapters_of(Client(None), SimpleNamespace(state=models)) is None
    assert adapters_of(Client(SimpleNamespace(max_lora_rank=8)), SimpleNamespace(state=SimpleNamespace())) is None
