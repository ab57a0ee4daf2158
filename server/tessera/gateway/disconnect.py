"""Stops the work on a request whose client has gone, or that the server gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from tessera.errors import Cancelled, TesseraError

# `asyncio.wait_for` of Python 3.11, which libraries call, loses a cancellation that comes as it is about to return.
CANCEL_AGAIN_S = 0.25


@asynccontextmanager
async def cancel_on_disconnect(receive: Receive, *, not_before: asyncio.Event | None = None) -> AsyncIterator[None]:
    """Cancel the body of the context when the client disconnects. To be entered once the request's body was read.

    Args:
        not_before: what must have happened for that: what is done until then, is done without a client too.

    Raises:
        Cancelled: the client disconnected.
        TesseraError: what ``receive`` raised, which cancels as well.
    """
    task = asyncio.current_task()
    assert task is not None, "needs a running task"
    cancelled = 0
    why: TesseraError = Cancelled("The client closed the connection.")

    async def watch() -> None:
        nonlocal cancelled, why
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not_before is not None:
                await not_before.wait()
        except TesseraError as error:
            why = error
        while True:
            cancelled += 1
            task.cancel()
            await asyncio.sleep(CANCEL_AGAIN_S)

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        others = task.cancelling() - cancelled
        for _ in range(cancelled):
            task.uncancel()
        if cancelled and not others:
            raise why from None
        raise
    finally:
        watcher.cancel()
