"""Media of ``/score`` and ``/rerank``, read before vLLM is asked.

Where a model that embeds scores, vLLM reads media in the worker's own loop, which cannot wait there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.worker.connector import MediaReader
from tessera.worker.rewritten import JSON, ask, is_json, json_of

_PATHS = frozenset(("/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"))


class ScoredMedia:
    """An application to which the media of these is at hand (ASGI).

    Args:
        app: vLLM's.
        reader: reads the media.
    """

    def __init__(self, app: ASGIApp, reader: MediaReader):
        self._app = app
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] not in _PATHS or not is_json(scope):
            await self._app(scope, receive, send)
            return
        asked = await json_of(scope, receive)
        async with self._reader.at_hand(_urls(asked)):
            body = orjson.dumps(asked)
            await ask(self._app, scope, receive, send, body, content_type=JSON, path=scope["path"])


def _urls(asked: dict[str, Any]) -> Iterator[str]:
    """Of all parts of both sides."""
    for side in asked.values():
        for given in side if isinstance(side, list) else [side]:
            content = given.get("content") if isinstance(given, dict) else None
            for part in content if isinstance(content, list) else ():
                held = part.get(part.get("type")) if isinstance(part, dict) else None
                if isinstance(held, dict) and isinstance(held.get("url"), str):
                    yield held["url"]
