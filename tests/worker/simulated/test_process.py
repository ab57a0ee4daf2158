"""Gateway, Redis and simulated workers, as processes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as aioredis

from tessera.queue import Directory, ModelCard
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tessera.worker.presence import Presence
from tests.gateway.gateway_process import GatewayProcess, gateway_process
from tests.polling import eventually
from tests.worker.simulated.worker_process import END_S, WorkerProcess, worker_process

TOKENS = 40
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
HELLO = {"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]}
KINDS = [
    {"n": 3},
    {"logprobs": True, "top_logprobs": 2},
    {"tools": [TOOL], "tool_choice": "required"},
    {"stop": ["never said"]},
    {"stream": False},
]
# What differs from one answer to the next.
FRESH = re.compile(rb'"(?:id|created|cached_tokens)":(?:"[^"]*"|\d+)')


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Slow enough to be killed in the middle."""
    return Settings(
        redis_url=redis_url,
        redis_prefix=f"test-{tmp_path.name}",
        lease_s=1.0,
        replicas=2,
        simulated_answer_tokens=TOKENS,
        simulated_decode_step_ms=25.0,
        # What is compared has no comments in it, however slow the machine.
        stream_heartbeat_s=0,
        log_format="json",
    )


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    with worker_process(settings, tmp_path / "first.log") as process:
        yield process


@pytest.fixture
async def gateway(settings: Settings, worker: WorkerProcess) -> AsyncIterator[GatewayProcess]:
    async with gateway_process(settings) as gateway:
        yield gateway


async def ask_all(gateway: GatewayProcess) -> list[asyncio.Task[bytes]]:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    return [gateway.ask({**HELLO, **({} if "stream" in kind else asked), **kind}) for kind in KINDS]


async def answers(asked: list[asyncio.Task[bytes]]) -> list[list[bytes]]:
    """What each says, event by event; those of several choices may come in another order."""
    return [sorted(FRESH.sub(b"", answer).split(b"\n\n")) for answer in await asyncio.gather(*asked)]


async def test_streams_go_on_as_if_their_worker_had_not_been_killed(
    gateway: GatewayProcess, worker: WorkerProcess, settings: Settings, tmp_path: Path
) -> None:
    undisturbed = await answers(await ask_all(gateway))
    assert all(b"error" not in b"".join(answer) for answer in undisturbed)
    with worker_process(settings, tmp_path / "second.log") as second:
        begun = asyncio.create_task(first_tokens(gateway, {**HELLO, "stream": True}, 10))
        asked = await ask_all(gateway)
        await begun
        worker.kill()
        assert await answers(asked) == undisturbed
        assert second.said("stream_resumed"), "some of them were interrupted"


async def first_tokens(gateway: GatewayProcess, body: object, tokens: int) -> None:
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
        for _ in range(2 * tokens):
            await response.content.readline()


async def test_a_crash_that_a_request_asks_for(
    gateway: GatewayProcess, worker: WorkerProcess, settings: Settings, tmp_path: Path
) -> None:
    asked = gateway.ask({**HELLO, "stream": True, "simulate": {"crash_after_tokens": 5}})
    await asyncio.to_thread(worker.wait, END_S)
    assert not asked.done()
    with worker_process(settings, tmp_path / "second.log"):
        answer = await asked
    said = "".join(re.findall(r'"content":"( [^"]*)"', answer.decode()))
    assert [int(token.split(".")[1]) for token in said.split()] == list(range(TOKENS))


async def test_it_says_what_it_is_and_ends_when_its_jobs_have(
    gateway: GatewayProcess, worker: WorkerProcess, settings: Settings
) -> None:
    async with gateway.http.get(f"{gateway.url}/v1/models/simulated") as response:
        told = await response.json()
    assert (told["engine"], told["root"]) == ("simulated", "simulated")
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    levels = [line["level"] for line in lines if line["event"] == "simulated_engine_ready"]
    assert levels == ["warning"] * settings.replicas
    asked = gateway.ask({**HELLO, "stream": True})
    await eventually(gateway.has_begun, "it answers", within_s=END_S)
    worker.terminate()
    assert (await asked).endswith(b"data: [DONE]\n\n")
    assert await asyncio.to_thread(worker.wait, END_S) == 0


async def test_a_worker_that_is_drained_ends_its_jobs_and_takes_no_more(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    given = settings.model_dump(exclude_unset=True)
    with worker_process(Settings(**given, worker_folder=folder), tmp_path / "first.log") as first:
        async with gateway_process(settings) as gateway:
            asked = gateway.ask({**HELLO, "stream": True})
            await eventually(gateway.has_begun, "it answers", within_s=END_S)
            assert Presence(folder).served()
            drained = asyncio.create_task(asyncio.to_thread(Presence(folder).drain, END_S))
            assert (await asked).endswith(b"data: [DONE]\n\n")
            assert await drained
            assert first.poll() is None, "it waits to be stopped"
            later = gateway.ask({**HELLO, "stream": True})
            with worker_process(settings, tmp_path / "second.log") as second:
                assert (await later).endswith(b"data: [DONE]\n\n")
                assert not second.said("stream_resumed")


async def test_it_does_not_join_workers_with_a_model(
    settings: Settings, redis_client: aioredis.Redis, tmp_path: Path
) -> None:
    real = ModelCard("simulated", "/models/x", 4096, engine="vllm")
    await Directory(redis_client, Keys(settings.redis_prefix)).announce("real", real, ttl_s=600)
    with worker_process(settings, tmp_path / "log") as process:
        assert await asyncio.to_thread(process.wait, END_S) == 1
        assert "Give it another name" in process.log.read_text()


def test_it_needs_nothing_that_a_gateway_does_not_have() -> None:
    code = (
        "import sys; from tessera.worker.simulated import run_simulated; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'vllm', 'ray', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
