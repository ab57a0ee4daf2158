"""What a trace tells of a job that came to this worker: how long it waited, and what became of it here."""

from __future__ import annotations

import asyncio

from tessera.queue import Lease
from tessera.telemetry.spans import Kind, Span
from tessera.telemetry.tracing import tracer


def begin_delivery(lease: Lease, worker_id: str) -> Span | None:
    """The span of a job in this worker, behind that of its wait; None where traces are off."""
    traces = tracer()
    if traces is None:
        return None
    # An epoch is the time of its delivery, by Redis' clock as the wait is.
    taken_ns = lease.epoch * 1_000_000
    waited = traces.begin("queue", Kind.PRODUCER, lease.job.trace)
    waited.start_ns = taken_ns - lease.wait_ms * 1_000_000
    waited.attributes = {"messaging.destination.name": lease.job.model, "tessera.attempt": lease.attempts}
    # The same trace, whether it was begun by a gateway or here.
    span = traces.begin("worker", Kind.CONSUMER, lease.job.trace or waited.carried())
    traces.end(waited, at_ns=taken_ns)
    span.start_ns = taken_ns
    span.attributes = {
        "gen_ai.request.model": lease.job.model,
        "tessera.worker": worker_id,
        "tessera.request.id": lease.job.id,
        "tessera.attempt": lease.attempts,
        "tessera.resumed_at": lease.written,
    }
    return span


def end_delivery(span: Span, task: asyncio.Task[None]) -> None:
    """Its task is over."""
    if task.cancelled():
        span.error = "given back"
    elif error := task.exception():
        span.error = type(error).__name__
    if traces := tracer():
        traces.end(span, at_once=bool(span.error))
