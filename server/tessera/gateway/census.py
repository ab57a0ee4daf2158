"""Tells in the metrics what gateways and workers share: the models' workers and jobs."""

from __future__ import annotations

import asyncio
from collections import Counter

from tessera.errors import QueueUnavailable
from tessera.gateway.services import Services
from tessera.queue import Census, Reaped
from tessera.queue.keys import Keys
from tessera.telemetry import metrics

_COUNTERS = {"set_aside": metrics.SET_ASIDE, "replies_dropped": metrics.REPLIES_DROPPED}
_GAUGES = {
    "waiting": metrics.QUEUE_DEPTH,
    "batch_waiting": metrics.BATCH_QUEUE_DEPTH,
    "oldest_s": metrics.OLDEST_WAITING,
    "running": metrics.JOBS_RUNNING,
    "queued_bytes": metrics.QUEUED_BYTES,
    "reply_bytes": metrics.REPLY_BYTES,
    "suspects": metrics.SUSPECT_JOBS,
    "dead": metrics.DEAD_JOBS,
    "kept_free": metrics.WORKERS_KEPT_FREE,
}


async def tell_census(services: Services) -> None:
    """Set the metrics anew, so that a model that was retired and a queue that cannot be seen have no value."""
    taken = await _take(services)
    for gauge in (metrics.WORKERS, metrics.WORKERS_WANTED, metrics.ADAPTER_WORKERS, *_GAUGES.values()):
        gauge.clear()
    for served in services.catalogue.known():
        metrics.WORKERS.labels(served.card.model).set(served.workers)
        if (wanted := served.wanted) is not None:
            metrics.WORKERS_WANTED.labels(served.card.model).set(wanted)
        states = (
            (name, "failed" if "error" in told else "loaded") for c in served.cards for name, told in c.adapters.items()
        )
        for (name, state), workers in Counter(states).items():
            metrics.ADAPTER_WORKERS.labels(served.card.model, name, state).set(workers)
        # An alert looks for the first failure, which is an increase only from 0.
        metrics.RESUMED.labels(served.card.model, "failed")
    for model, census in taken.items():
        # Of the directory there are counts alone.
        for field, gauge in _GAUGES.items() if model != Keys.DIRECTORY else ():
            gauge.labels(model).set(getattr(census, field))
    for name, counter in _COUNTERS.items():
        counter.set({(m,): census.counts.get(name, 0) for m, census in taken.items() if m != Keys.DIRECTORY})
    for kind, counter in {"corrupt:": metrics.CORRUPT_RECORDS, "reaped:": metrics.REAPED}.items():
        counts: dict[tuple[str, ...], int] = {
            (model, name.removeprefix(kind)): count
            for model, census in taken.items()
            for name, count in census.counts.items()
            if name.startswith(kind)
        }
        if counter is metrics.REAPED:
            counts = {(m, outcome): 0 for m in taken if m != Keys.DIRECTORY for outcome in Reaped._fields} | counts
        counter.set(counts)


async def _take(services: Services) -> dict[str, Census]:
    # A Redis that hangs must not take the gateway's own metrics with it.
    if not services.catalogue.reachable:
        return {}
    names = [Keys.DIRECTORY, *(served.card.model for served in services.catalogue.known())]
    try:
        return dict(zip(names, await asyncio.gather(*map(services.broker.census, names)), strict=True))
    except QueueUnavailable:
        return {}
