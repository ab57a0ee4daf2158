"""Stops the work on a request whose client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from tessera.errors import Cancelled


@asynccontextmanager
async def cancel_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancel the body of the context when the client disconnects. To be entered once the request's body was read.

    Raises:
        Cancelled: the client disconnected.
    """
    task = asyncio.current_task()
    assert task is not None, "needs a running task"
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise Cancelled("The client closed the connection.") from None
        raise
    finally:
        watcher.cancel()
