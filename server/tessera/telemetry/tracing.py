"""Where this process' spans go: to a collector of OpenTelemetry, by OTLP over HTTP, in JSON. Off by default.

No library: what it takes is small, and each gateway's image would have to carry one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp
import orjson
from prometheus_client import Counter

from tessera import __version__
from tessera.settings import Settings
from tessera.telemetry.outage import Outage
from tessera.telemetry.spans import Kind, Span, encode

PERIOD_S = 1.0
# In one message, and of those that the collector has not taken: later ones are dropped.
MOST_AT_ONCE = 512
MOST_WAITING = 8192
TIMEOUT_S = 10.0
# For what is left when the process ends.
LAST_S = 5.0
_PATH = "/v1/traces"

DROPPED = Counter("tessera_spans_dropped_total", "Spans that the collector of traces did not take in time.")


class Tracer:
    """Collects spans that have ended, and sends them."""

    def __init__(self, settings: Settings, service: str):
        self._url = settings.otlp_endpoint.rstrip("/") + _PATH
        self._share = settings.trace_percent / 100
        self._resource = encode({"service.name": service, "service.version": __version__})
        self._waiting: deque[Span] = deque()
        self._due = asyncio.Event()

    def begin(self, name: str, kind: Kind, carried: Mapping[str, str]) -> Span:
        """A span that goes on with a trace, or begins one; to be ended."""
        return Span.behind(name, kind, carried, share=self._share)

    def end(self, span: Span, *, at_ns: int = 0, at_once: bool = False) -> None:
        """It is over.

        Args:
            at_ns: Unix time; 0: now.
            at_once: send it without waiting for others: this process may be about to end.
        """
        span.end_ns = at_ns or time.time_ns()
        if not span.sampled:
            return
        if len(self._waiting) >= MOST_WAITING:
            DROPPED.inc()
            return
        self._waiting.append(span)
        if at_once or len(self._waiting) >= MOST_AT_ONCE:
            self._due.set()

    async def run(self) -> None:
        """Send until cancelled; then what is left, if the collector takes it soon."""
        outage = Outage("trace_collector_unreachable", "trace_collector_reached")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as http:
            try:
                while True:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(PERIOD_S):
                            await self._due.wait()
                    try:
                        await self._send(http)
                        outage.works("send")
                    except (aiohttp.ClientError, OSError) as error:
                        outage.failed("send", error)
                        await asyncio.sleep(PERIOD_S)
            finally:
                with suppress(aiohttp.ClientError, OSError):
                    async with asyncio.timeout(LAST_S):
                        await self._send(http)

    async def _send(self, http: aiohttp.ClientSession) -> None:
        self._due.clear()
        while self._waiting:
            some = [self._waiting[i] for i in range(min(len(self._waiting), MOST_AT_ONCE))]
            scope = {"scope": {"name": "tessera"}, "spans": [span.encode() for span in some]}
            message = {"resourceSpans": [{"resource": {"attributes": self._resource}, "scopeSpans": [scope]}]}
            head = {"Content-Type": "application/json"}
            async with http.post(self._url, data=orjson.dumps(message), headers=head) as response:
                response.raise_for_status()
            for _ in some:
                self._waiting.popleft()


_current: list[Tracer] = []


def tracer() -> Tracer | None:
    """This process' own; None where traces are off."""
    return _current[-1] if _current else None


@asynccontextmanager
async def tracing(settings: Settings, service: str) -> AsyncIterator[None]:
    """Have spans sent while the context lasts, where ``TESSERA_OTLP_ENDPOINT`` says where to."""
    if not settings.otlp_endpoint:
        yield
        return
    own = Tracer(settings, service)
    task = asyncio.create_task(own.run())
    _current.append(own)
    try:
        yield
    finally:
        _current.remove(own)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
