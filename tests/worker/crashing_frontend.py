"""A worker process for tests to kill: takes jobs, says so, and never answers, or answers only in part.

Arguments: Redis' URL, key prefix, lease in seconds, and what it writes of an answer.
"""

from __future__ import annotations

import asyncio
import sys

from starlette.types import Receive, Scope, Send

from tessera.queue import ModelCard, connect
from tessera.settings import Settings
from tessera.worker.frontend import Frontend
from tests.worker.jobs import MODEL

PART = sys.argv[4].encode()
STREAMED = [(b"content-type", b"text/event-stream")]


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    if PART:
        await send({"type": "http.response.start", "status": 200, "headers": STREAMED})
        await send({"type": "http.response.body", "body": PART, "more_body": True})
    await asyncio.Event().wait()


async def _main() -> None:
    settings = Settings(redis_url=sys.argv[1], redis_prefix=sys.argv[2], lease_s=float(sys.argv[3]))
    redis = connect(settings, name="crashing", blocking_s=2.0)
    await Frontend(settings, redis, _app, ModelCard(MODEL, "root", 1, sequences=8), lambda: False).run()


asyncio.run(_main())
