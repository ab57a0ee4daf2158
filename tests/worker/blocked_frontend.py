"""A worker on a loop of its own that a test can stop in the middle of a request, as a long computation would."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tessera.queue import ModelCard, connect
from tessera.settings import Settings
from tessera.worker.frontend import Frontend
from tests.polling import eventually
from tests.worker.jobs import MODEL

LONGEST_BLOCK_S = 60


class BlockedFrontend:
    """Runs until ``end``. Between ``block`` and ``unblock`` its loop stands still; it answers after ``go``.

    Attributes:
        begun: how often each job was begun.
        running: jobs that it works on.
    """

    def __init__(self, settings: Settings):
        self.begun: Counter[str] = Counter()
        self.running = 0
        self.go = threading.Event()
        self._block, self._blocked, self._over = threading.Event(), threading.Event(), threading.Event()
        self._unblock = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(settings)))
        self._thread.start()

    def block(self) -> None:
        self._unblock.clear()
        self._block.set()
        assert self._blocked.wait(LONGEST_BLOCK_S)

    def unblock(self) -> None:
        self._block.clear()
        self._blocked.clear()
        self._unblock.set()

    def end(self) -> None:
        self._unblock.set()
        self._over.set()
        self._thread.join()

    async def _run(self, settings: Settings) -> None:
        redis = connect(settings, name="blocked", blocking_s=2.0)
        card = ModelCard(MODEL, "root", 1, sequences=4)
        serving = asyncio.create_task(Frontend(settings, redis, self._app, card, lambda: False).run())
        await eventually(self._over.is_set, "the test is over", within_s=LONGEST_BLOCK_S)
        serving.cancel()
        await asyncio.wait([serving])
        await redis.aclose()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        job_id = dict(scope["headers"])[b"x-request-id"].decode()
        self.begun[job_id] += 1
        self.running += 1
        try:
            await StreamingResponse(self._body(), media_type="text/plain")(scope, receive, send)
        finally:
            self.running -= 1

    async def _body(self) -> AsyncIterator[bytes]:
        while not self.go.is_set():
            await asyncio.sleep(0.01)
            if self._block.is_set():
                self._blocked.set()
                self._unblock.wait(LONGEST_BLOCK_S)
        yield b"done"
