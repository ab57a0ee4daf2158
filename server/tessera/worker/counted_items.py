"""An endpoint of vLLM's application that vLLM does not have: how many tokens an item is to the model's own processor.

Gateways ask by a job, for models whose rules they do not know.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.errors import InvalidRequest, TesseraError
from tessera.media import Modality
from tessera.queue import ITEM_COUNT_PATH
from tessera.worker.connector import MediaReader
from tessera.worker.item_counter import ItemCounter

log = structlog.get_logger()


class CountedItems:
    """vLLM's application, and that endpoint.

    Args:
        app: vLLM's.
        client: its engine (``AsyncLLM``).
        reader: has the items.
    """

    def __init__(self, app: ASGIApp, client: Any, reader: MediaReader):
        self._app = app
        self._client = client
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http" or scope["path"] != ITEM_COUNT_PATH:
            await self._app(scope, receive, send)
            return
        try:
            answer = JSONResponse(await self._count(orjson.loads(await Request(scope, receive).body())))
        except TesseraError as error:
            answer = JSONResponse(error.body(), error.status)
        await answer(scope, receive, send)

    async def _count(self, asked: dict[str, Any]) -> dict[str, Any]:
        modality = Modality(asked["modality"])
        array, described = await self._reader.read(asked["url"], modality)
        data = await asyncio.to_thread(_for_vllm, modality, array, described)
        renderer = self._client.renderer
        counter = ItemCounter(renderer.get_mm_processor(), renderer.tokenizer)
        try:
            counted = await asyncio.to_thread(counter.count, {modality.value: data}, asked["mm_processor_kwargs"])
        except Exception as error:  # a model's own code, which refuses what it likes
            raise InvalidRequest(f"The model's processor refuses it: {str(error)[:200]}") from error
        return {"tokens": counted.written}


def _for_vllm(modality: Modality, array: Any, described: dict[str, Any]) -> Any:
    """An item as vLLM's media connector gives it. What comes from the reader is not to be written to."""
    from PIL import Image

    if modality is Modality.IMAGE:
        return Image.fromarray(array)
    if modality is Modality.AUDIO:
        return array.copy(), described["sample_rate"]
    return array.copy(), {name: value for name, value in described.items() if name != "audio_digest"}
