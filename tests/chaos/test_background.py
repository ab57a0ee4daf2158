"""Responses in the background outlive the worker that makes them, the gateway that took them, and their Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tessera.settings import Settings
from tests.gateway.gateway_process import GatewayProcess, gateway_process
from tests.gateway.scripted import OwnRedis
from tests.polling import eventually
from tests.worker.simulated.worker_process import worker_process

# `make test-background` has 200 of them.
RESPONSES = int(os.environ.get("TESSERA_TEST_BACKGROUND", "40"))
# It takes longer to begin more of them, and none may end before the last one has begun.
TOKENS, SEEN = 20 + RESPONSES, 3
HEAL_S = 80 + RESPONSES
_EVENT = re.compile(rb"event: ([\w.]+)\ndata: (.*)\n\n")


@pytest.mark.timeout(180 + HEAL_S)
async def test_all_of_them_complete_and_no_event_is_lost_or_repeated(tmp_path: Path) -> None:
    redis, events_told = OwnRedis(tmp_path), 0
    await redis.start()
    settings = Settings(
        redis_url=redis.url,
        redis_prefix="chaos",
        lease_s=2.0,
        redis_outage_s=60.0,
        simulated_answer_tokens=TOKENS,
        simulated_decode_step_ms=60.0,
        log_format="json",
    )
    try:
        with worker_process(settings, tmp_path / "1.log") as worker, worker_process(settings, tmp_path / "2.log"):
            async with gateway_process(settings) as first, gateway_process(settings) as second:
                # Those of every second client have said something already.
                begun = await asyncio.gather(*(begin(first, n, SEEN if n % 2 else 0) for n in range(RESPONSES)))
                worker.kill()
                first.kill()
                redis.kill()
                await redis.start()
                with worker_process(settings, tmp_path / "3.log"):
                    followed = await asyncio.gather(*(follow(second, seen[0], len(seen[1]) - 1) for seen in begun))
                    for (response_id, seen), rest in zip(begun, followed, strict=True):
                        events = [*seen, *rest]
                        events_told += len(events)
                        assert [event["sequence_number"] for event in events] == list(range(len(events)))
                        said = "".join(event["delta"] for event in events if event["type"].endswith(".delta"))
                        assert [int(token.split(".")[1]) for token in said.split()] == list(range(TOKENS))
                        assert events[-1]["response"]["id"] == response_id
                        kept = await retrieve(second, response_id)
                        assert kept == events[-1]["response"]
                        assert (kept["status"], kept["background"]) == ("completed", True)
    finally:
        redis.kill()
    resumed = sum((tmp_path / f"{n}.log").read_text().count('"stream_resumed"') for n in (2, 3))
    assert resumed, "some of them were interrupted"
    print(f"{RESPONSES} responses of {events_told:,} events; {resumed} streams were gone on with by other workers")


async def begin(gateway: GatewayProcess, number: int, seen: int) -> tuple[str, list[dict[str, Any]]]:
    """Ask, read some events behind the first, and leave. Returns the response's id, and these events."""
    body = {"model": "simulated", "input": f"Number {number}", "background": True, "stream": True}
    events: list[dict[str, Any]] = []
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as answer:
        raw = b""
        while len(events) < 1 + seen:
            raw += await answer.content.readany()
            events = events_of(raw)
        answer.close()
    kept = events[: 1 + seen]
    return kept[0]["response"]["id"], kept


async def follow(gateway: GatewayProcess, response_id: str, after: int) -> list[dict[str, Any]]:
    """All events behind one."""
    url = f"{gateway.url}/v1/responses/{response_id}?stream=true&starting_after={after}"
    answered: list[dict[str, Any]] = []

    async def complete() -> bool:
        try:
            async with gateway.http.get(url) as answer:
                if answer.status != 200:
                    return False  # Redis is not back yet
                answered[:] = events_of(await answer.read())
        except aiohttp.ClientError:
            return False
        return bool(answered) and answered[-1]["type"] == "response.completed"

    await eventually(complete, f"{response_id} is complete", within_s=HEAL_S)
    return answered


async def retrieve(gateway: GatewayProcess, response_id: str) -> dict[str, Any]:
    async with gateway.http.get(f"{gateway.url}/v1/responses/{response_id}") as answer:
        told: dict[str, Any] = await answer.json()
        return told


def events_of(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for _, data in _EVENT.findall(raw.replace(b": waiting\n\n", b""))]
