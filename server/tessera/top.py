"""`tessera top`: models, their queues and workers, and tokens a second, live in a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tessera.flags import refusal
from tessera.readings import ModelNow, Pair, Reading, fetch, models_now, open_requests

_RIGHT = ("workers", "running", "waiting", "of batches", "oldest, s", "requests/s", "errors/s")
_TOKENS = ("prompt tokens/s", "answer tokens/s", "first token, s: p50", "p95")


def top(
    urls: Annotated[
        list[str] | None, typer.Option("--url", help="Address of a gateway; all of them, one by one, for the whole.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, for that long, and end.")] = False,
    api_key: Annotated[
        str, typer.Option(help="Where TESSERA_METRICS_AUTH is set.", envvar="TESSERA_API_KEY", show_envvar=True)
    ] = "",
) -> None:
    """Watch a running server by its gateways' metrics. Ctrl-C ends it."""
    watched = _Watched(urls or ["http://127.0.0.1:8000"], api_key)
    watched.look()
    if not watched.latest:
        raise refusal("; ".join(f"{url}: {why}" for url, why in watched.problems.items()), code=1)
    console = Console()
    if once:
        time.sleep(every)
        watched.look()
        console.print(watched.table())
        return
    try:
        with Live(watched.table(), console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                time.sleep(every)
                watched.look()
                live.update(watched.table(), refresh=True)
    except KeyboardInterrupt:
        return


class _Watched:
    """Gateways, with the last two readings of each."""

    def __init__(self, urls: Sequence[str], key: str):
        self._urls, self._key = urls, key
        self._pairs: dict[str, Pair] = {}
        self.latest: dict[str, Reading] = {}
        self.problems: dict[str, str] = {}

    def look(self) -> None:
        """Read them all; one that does not answer has no rate until it has been read twice again."""
        self._pairs, before, self.latest, self.problems = {}, self.latest, {}, {}
        for url in self._urls:
            try:
                reading = fetch(url, self._key, time.monotonic())
            except (OSError, ValueError) as error:
                self.problems[url] = str(error)
                continue
            self.latest[url] = reading
            self._pairs[url] = before.get(url, reading), reading

    def table(self) -> Table:
        """What is shown."""
        pairs = list(self._pairs.values())
        title = f"{len(pairs)} of {len(self._urls)} gateways, {open_requests(pairs)} open requests"
        caption = "\n".join(f"{url}: {why}" for url, why in self.problems.items())
        table = Table("model", title=title, caption=caption or None, caption_style="red")
        for name in (*_RIGHT, *_TOKENS):
            table.add_column(name, justify="right")
        for model in models_now(pairs):
            table.add_row(*_cells(model))
        return table


def _cells(now: ModelNow) -> list[str]:
    counts = [f"{count:,}" for count in (now.workers, now.running, now.waiting, now.of_batches)]
    rates = [f"{now.oldest_s:.1f}", f"{now.requests_s:.1f}", f"{now.errors_s:.1f}"]
    tokens = [f"{now.prompt_tokens_s:,.0f}", f"{now.completion_tokens_s:,.0f}"]
    firsts = ["-", "-"] if now.ttft_s is None else [f"{seconds:.3f}" for seconds in now.ttft_s]
    return [now.model, *counts, *rates, *tokens, *firsts]
