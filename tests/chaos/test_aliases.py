"""An alias is switched between two models under load, and no request fails; it outlives the restart of everything."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tessera.settings import Settings
from tests.gateway.gateway_process import GatewayProcess, gateway_process
from tests.gateway.scripted import OwnRedis
from tests.polling import eventually
from tests.worker.simulated.worker_process import worker_process

BLUE, GREEN = "big-v1", "big-v2"
SWITCHES = ({BLUE: 90, GREEN: 10}, {BLUE: 50, GREEN: 50}, {GREEN: 1}, {BLUE: 1})
STREAMS, ROUNDS = 8, 2
KEY = "the-operators-own-key"
OPERATOR = {"Authorization": f"Bearer {KEY}"}


@pytest.mark.timeout(240)
async def test_no_request_fails_while_it_is_switched_and_it_is_there_after_all_restarts(tmp_path: Path) -> None:
    redis = OwnRedis(tmp_path)
    await redis.start()
    settings = Settings(
        redis_url=redis.url,
        redis_prefix="chaos",
        lease_s=2.0,
        redis_outage_s=60.0,
        simulated_answer_tokens=10,
        simulated_decode_step_ms=10.0,
        admin_key=KEY,
    )
    workers = [settings.model_copy(update={"served_model_name": name}) for name in (BLUE, GREEN)]
    try:
        with worker_process(workers[0], tmp_path / "1.log"), worker_process(workers[1], tmp_path / "2.log"):
            async with gateway_process(settings) as second:
                async with gateway_process(settings) as first:
                    await eventually(lambda: serves(first, BLUE, GREEN), "both models are served", within_s=60)
                    await put(first, SWITCHES[-1])
                    await eventually(lambda: stands_for(second, SWITCHES[-1]), "the other one has heard of it")
                    answers = await under_load([first, second])
                    assert set(answers) == {(200, BLUE), (200, GREEN)}, answers
                    last = SWITCHES[0]
                    await put(second, last)
                # A gateway that starts anew knows it, and one that stayed does after Redis was killed.
                redis.kill()
                await redis.start()
                async with gateway_process(settings) as third:
                    for gateway in (second, third):
                        await eventually(lambda it=gateway: stands_for(it, last), "it is known", within_s=60)
                        await eventually(lambda it=gateway: serves(it, BLUE, GREEN), "both serve", within_s=60)
                        assert (await ask(gateway, stream=False))[0] == 200
    finally:
        redis.kill()


async def under_load(gateways: list[GatewayProcess]) -> Counter[tuple[int, str]]:
    """Statuses, and who answered, while the alias is switched by one gateway and the other one."""
    over, answers = asyncio.Event(), Counter[tuple[int, str]]()

    async def keep_asking(number: int) -> None:
        gateway, stream = gateways[number % 2], number % 4 < 2
        while not over.is_set():
            answers[await ask(gateway, stream=stream)] += 1

    async with asyncio.TaskGroup() as asking:
        for number in range(STREAMS):
            asking.create_task(keep_asking(number))
        for gateway, targets in zip(cycle(gateways), SWITCHES * ROUNDS, strict=False):
            await put(gateway, targets)
            for each in gateways:
                await eventually(lambda it=each, to=targets: stands_for(it, to), f"{targets} everywhere")
            before = answers.total()
            await eventually(lambda seen=before: answers.total() > seen + 2 * STREAMS, "it is asked")
        over.set()
    return answers


async def ask(gateway: GatewayProcess, *, stream: bool) -> tuple[int, str]:
    """The status, and the model that the answer names; of a stream only if it is whole."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why?"}], "stream": stream}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as answer:
        text = await answer.text()
    if stream and not text.endswith("data: [DONE]\n\n"):
        return 0, text
    named = [name for name in (BLUE, GREEN) if f'"model":"{name}"' in text.replace('": "', '":"')]
    return answer.status, ",".join(named)


async def put(gateway: GatewayProcess, targets: dict[str, int]) -> None:
    where = f"{gateway.url}/admin/v1/aliases/gpt-4o"
    async with gateway.http.put(where, json={"targets": targets}, headers=OPERATOR) as answer:
        assert answer.status == 200, await answer.text()


async def models(gateway: GatewayProcess) -> dict[str, Any]:
    try:
        async with gateway.http.get(f"{gateway.url}/v1/models") as answer:
            return {model["id"]: model for model in (await answer.json()).get("data", [])}
    except aiohttp.ClientError:
        return {}


async def serves(gateway: GatewayProcess, *names: str) -> bool:
    found = await models(gateway)
    return all(name in found and found[name]["workers"] for name in names)


async def stands_for(gateway: GatewayProcess, targets: dict[str, int]) -> bool:
    found = await models(gateway)
    return "gpt-4o" in found and found["gpt-4o"]["targets"] == targets
