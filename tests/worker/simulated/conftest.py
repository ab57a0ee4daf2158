"""A simulated engine that needs no time, asked without a server in between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tessera.media import MemoryMediaStore
from tessera.settings import Settings
from tessera.worker.connector import MediaReader
from tessera.worker.simulated import SimulatedEngine

CHAT = "/v1/chat/completions"


def instant(**options: Any) -> Settings:
    fast = {"simulated_prefill_tokens_per_s": 1e12, "simulated_encode_tokens_per_s": 1e12}
    return Settings(**{"simulated_decode_step_ms": 0, **fast, **options})


class Client:
    def __init__(self, engine: SimulatedEngine, store: MemoryMediaStore):
        self.engine, self.store = engine, store
        transport = httpx.ASGITransport(engine.app)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://engine")

    async def post(self, path: str = CHAT, **body: Any) -> httpx.Response:
        if path == CHAT:
            body.setdefault("messages", [{"role": "user", "content": "Hello"}])
        return await self._http.post(path, json={"model": "m", **body}, headers={"x-request-id": "r"})

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path)

    async def document(self, path: str = CHAT, **body: Any) -> dict[str, Any]:
        response = await self.post(path, **body)
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    async def events(self, path: str = CHAT, **body: Any) -> list[dict[str, Any]]:
        """A stream's events, which must end with ``[DONE]``."""
        *events, done, rest = (await self.post(path, stream=True, **body)).text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    store = MemoryMediaStore()
    engine = SimulatedEngine(instant(), MediaReader(store))
    await engine.start()
    yield Client(engine, store)
    await engine.stop()
