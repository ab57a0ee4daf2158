"""What earlier versions have left in Redis, this one goes on with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis import Redis

from tessera.settings import SIMULATED, Settings
from tests.chaos.wire import FOLDER, TOKENS, Wire
from tests.gateway.gateway_process import gateway_process
from tests.gateway.scripted import OwnRedis
from tests.worker.simulated.worker_process import worker_process

_COMMENT = re.compile(r"^:.*\n\n", re.MULTILINE)


def tokens(events: str) -> list[int]:
    return [int(number) for number in re.findall(r'"content":\s*" ?\w+\.(\d+) ?"', events)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
async def test_what_an_earlier_version_left_is_gone_on_with(tmp_path: Path, path: Path) -> None:
    wire = Wire.read(path)
    server = OwnRedis(tmp_path)
    await server.start()
    with Redis.from_url(server.url) as redis:
        wire.restore(redis)
    settings = Settings(redis_url=server.url, simulated_answer_tokens=TOKENS, log_format="json")
    try:
        with worker_process(settings, tmp_path / "worker.log"):
            async with gateway_process(settings) as gateway:
                told = {}
                for name, request_id in wire.requests.items():
                    async with gateway.http.get(f"{gateway.url}/v1/requests/{request_id}/events") as response:
                        assert response.status == 200, (name, await response.text())
                        told[name] = _COMMENT.sub("", await response.text())
                async with gateway.http.get(f"{gateway.url}/v1/requests/{wire.requests['begun']}") as response:
                    state = await response.json()
    finally:
        server.kill()
    assert told["answered"] == wire.told["answered"]
    assert told["begun"].startswith(wire.told["begun"])
    for events in told.values():
        assert tokens(events) == list(range(TOKENS))
        assert events.endswith("data: [DONE]\n\n")
    assert (state["state"], state["model"], state["resumed"]) == ("completed", SIMULATED, True)
