"""``tessera up``: everything in the foreground, with what to do next printed when it is ready."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tessera.local.stack import Stack, open_stack
from tessera.settings import SIMULATED, Settings

_CURL = """curl {url}/v1/chat/completions -H 'Content-Type: application/json'{key} \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}], "max_tokens": 32}}'"""


@asynccontextmanager
async def started(settings: Settings, console: Console, *, verbose: bool) -> AsyncIterator[Stack]:
    """The whole stack, ready for requests, with its start shown step by step."""

    def tell(news: str) -> None:
        console.print(f"[yellow]![/] {news}")

    async with open_stack(settings, verbose=verbose, tell=tell) as stack:
        if not settings.redis_url:
            await _step(console, "Redis", stack.start_redis)
        # The gateway first: it shows when the worker has announced itself.
        await _step(console, "Gateway", stack.start_gateway)
        await _step(console, _worker(settings, stack.model), stack.start_worker)
        try:
            yield stack
        finally:
            console.print("Stopping …")


def _worker(settings: Settings, model: str) -> str:
    if settings.engine == SIMULATED:
        return f"Simulated engines, without a model: all answers of {model} are made up"
    return f"Ray and a vLLM engine with {model} (half a minute or more)"


async def run_up(settings: Settings, *, verbose: bool) -> None:
    """Keep everything running until SIGINT or SIGTERM.

    Raises:
        StartFailed: something did not come up.
    """
    console = Console(highlight=False)
    with ended_by_signals():
        async with started(settings, console, verbose=verbose) as stack:
            console.print(f"\nServing on [bold]{stack.url}[/] (docs: {stack.url}/docs; Ctrl-C stops). Try it:\n")
            # soft_wrap: the command can be pasted as it is.
            # Not the key itself: what is on the screen is seen by others.
            key = ' -H "Authorization: Bearer $KEY"' if stack.headers else ""
            console.print(_CURL.format(url=stack.url, model=stack.model, key=key), soft_wrap=True, markup=False)
            await asyncio.Event().wait()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the body, wherever it is, as if it had come to its end; the next ones are ignored."""
    task = asyncio.current_task()
    assert task is not None, "needs a running task"
    loop = asyncio.get_running_loop()
    signalled = False

    def stop() -> None:
        nonlocal signalled
        if not signalled:
            signalled = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        if not signalled or task.uncancel():
            raise


async def _step(console: Console, what: str, start: Callable[[], Awaitable[None]]) -> None:
    begun = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as clock:
        clock.add_task(f"Starting {what}", total=None)
        await start()
    console.print(f"[green]✓[/] {what} [dim]{time.monotonic() - begun:.1f} s[/]")
