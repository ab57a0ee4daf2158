"""A collector of traces: takes OTLP over HTTP, in JSON as this server sends it and in protobuf as vLLM does."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Told:
    """A span as a collector got it.

    Attributes:
        service: of the process that told it.
        kind: as OTLP names it.
        error: its status says that it failed, and this.
    """

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str | None


class Collector:
    """Attributes:
    url: for ``TESSERA_OTLP_ENDPOINT``.
    refuses: while it does, it answers 503.
    """

    def __init__(self) -> None:
        self.url = ""
        self.refuses = False
        self.spans: list[Told] = []

    def of(self, trace: str) -> list[Told]:
        """The spans of a trace, in the order of their times."""
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.start_ns)

    async def handle(self, request: web.Request) -> web.Response:
        if self.refuses:
            return web.Response(status=503)
        message, body = ExportTraceServiceRequest(), await request.read()
        if request.content_type == "application/json":
            # Ids are in hexadecimal there, and not in base64 as all else of that type: only what is read is changed.
            json_format.Parse(body, message)
        else:
            message.ParseFromString(body)
        for part in message.resource_spans:
            service = next(a.value.string_value for a in part.resource.attributes if a.key == "service.name")
            for scope in part.scope_spans:
                self.spans += [_told(service, span, request.content_type) for span in scope.spans]
        return web.json_response({})


def _told(service: str, span: Any, content_type: str) -> Told:
    def hexadecimal(raw: bytes) -> str:
        if content_type != "application/json":
            return raw.hex()
        # What the reader took for base64.
        return base64.b64encode(raw).decode()

    return Told(
        service,
        span.name,
        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        hexadecimal(span.trace_id),
        hexadecimal(span.span_id),
        hexadecimal(span.parent_span_id),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes},
        span.status.message if span.status.code == 2 else None,
    )


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """One, until the context ends."""
    made = Collector()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@contextmanager
def collector_beside() -> Iterator[Collector]:
    """One in a thread of its own: for a server that outlives each test's event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    opened = collector()
    try:
        yield run(opened.__aenter__())
        run(opened.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
