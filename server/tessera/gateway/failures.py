"""Turns what a worker or the queue said about a job that was given up into the client's error."""

from __future__ import annotations

from tessera.errors import (
    Evicted,
    GatewayLost,
    PoisonRequest,
    QueueTimeout,
    ReplyLost,
    RequestCancelled,
    StreamNotResumed,
    TesseraError,
    WorkerLost,
)
from tessera.queue import Failure

_KINDS = (QueueTimeout, WorkerLost, GatewayLost, ReplyLost, StreamNotResumed)
_EVICTIONS: dict[str, type[Evicted]] = {e.code: e for e in _KINDS}


def error_of(failure: Failure) -> TesseraError:
    """The error for a failure entry."""
    if (known := _EVICTIONS.get(failure.code)) is not None:
        return known(failure.message, retry_after_s=1)
    if failure.code == RequestCancelled.code:
        return RequestCancelled(failure.message)
    if failure.code == PoisonRequest.code:
        return PoisonRequest(failure.message)
    return TesseraError(failure.message)
