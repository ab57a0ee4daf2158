"""What the metrics and the log learn of one request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from tessera.errors import Cancelled, StreamNotResumed, TesseraError
from tessera.gateway.planning import Expectation
from tessera.queue import End, Head
from tessera.settings import DEFAULT_TENANT
from tessera.telemetry import metrics
from tessera.telemetry.tenants import tenant_label

log = structlog.get_logger()

_MODALITIES = ("image", "video", "audio")


class Observation:
    """Times and counts of a request; its labels are known step by step.

    Attributes:
        tenant: who asks.
        model: ``unknown`` until the model was found, so that clients cannot make up label values.
        ended: the end of the answer was seen, and what it took is counted.
        expected: what an engine is to count of its media, where that is known.
        learn_text: to be told how many tokens its text was, where nobody could count them.

    Args:
        timed: how long it takes is measured; a request that gives way to others tells nothing by that.
    """

    def __init__(self, endpoint: str, tenant: str, *, timed: bool = True):
        self.endpoint = endpoint
        self._timed = timed
        self.tenant = tenant
        self.model = "unknown"
        self.job_id = ""
        self.ended = False
        self.expected: Expectation | None = None
        self.learn_text: Callable[[int], None] | None = None
        self.status = 200
        self.code = ""
        self._started = self._last = time.perf_counter()
        self._first: float | None = None
        self._itl: Any = None
        self._error: dict[str, str | None] = {}

    def head(self, head: Head) -> None:
        """The answer begins."""
        self.status = head.status
        if self._timed:
            metrics.QUEUE_WAIT.labels(self.model).observe(head.wait_ms / 1000)
        if head.attempts > 1:
            metrics.REDELIVERED.labels(self.model).inc()

    def piece(self) -> None:
        """A piece of the answer goes out."""
        now = time.perf_counter()
        if self._first is None:
            self._first = now
            if self._timed and self.status < 400:
                metrics.TTFT.labels(self.model).observe(now - self._started)
            self._itl = metrics.ITL.labels(self.model)
        else:
            self._itl.observe(now - self._last)
        self._last = now

    def end(self, end: End) -> None:
        """The answer is complete, or its stream has ended with an error."""
        if end.error is not None:
            self.status, self.code = end.error
        elif self.status >= 400:
            self.code = "engine"  # a worker of an earlier version, which does not say more
        if end.resumed:
            metrics.RESUMED.labels(self.model, "resumed").inc()
        count_tokens(self.model, end.usage, self.tenant)
        if self.expected is not None:
            self.expected.compare(end.usage)
        if self.learn_text is not None:
            self.learn_text(_text_tokens(end.usage))
        self.ended = True

    def failed(self, error: TesseraError) -> None:
        """The request ends with one of the server's own errors."""
        self.status, self.code = error.status, error.code
        if isinstance(error, StreamNotResumed):
            metrics.RESUMED.labels(self.model, "failed").inc()
        self._error = {"param": error.param, "message": error.message}

    def _conclude(self) -> None:
        elapsed = time.perf_counter() - self._started
        metrics.REQUESTS.labels(self.model, self.endpoint, str(self.status), self.code).inc()
        metrics.TENANT_REQUESTS.labels(tenant_label(self.tenant), str(self.status)).inc()
        if self.status == 200:
            if self._timed:
                metrics.E2E.labels(self.model, self.endpoint).observe(elapsed)
        else:
            write = log.warning if self.status >= 500 else log.info
            write(
                "request_failed",
                job=self.job_id,
                model=self.model,
                endpoint=self.endpoint,
                status=self.status,
                code=self.code,
                seconds=round(elapsed, 3),
                **self._error,
            )


def _text_tokens(usage: dict[str, Any]) -> int:
    media: dict[str, int] = (usage.get("prompt_tokens_details") or {}).get("multimodal_tokens") or {}
    return int(usage.get("prompt_tokens") or 0) - sum(media.values())


def count_tokens(model: str, usage: dict[str, Any], tenant: str) -> None:
    """Count what an answer took, by vLLM's usage object."""
    details = usage.get("prompt_tokens_details") or {}
    by_modality = details.get("multimodal_tokens") or {}
    counts = {"prompt": usage.get("prompt_tokens"), "completion": usage.get("completion_tokens")}
    counts["cached"] = details.get("cached_tokens")
    counts |= {name: by_modality.get(name) for name in _MODALITIES}
    for kind, count in counts.items():
        if count:
            metrics.TOKENS.labels(model, kind).inc(count)
            metrics.TENANT_TOKENS.labels(tenant_label(tenant), kind).inc(count)


class Retelling:
    """Of an answer that is, or was, observed as that of another request: what it took is not counted twice.

    Args:
        seen: the request that gets it too.
    """

    def __init__(self, seen: Observation):
        self._seen = seen
        self.failed = seen.failed

    def head(self, head: Head) -> None:
        """The answer begins."""
        self._seen.status = head.status

    def piece(self) -> None:
        """A piece of the answer goes out."""

    def end(self, end: End) -> None:
        """The answer is complete, or its stream has ended with an error."""
        if end.error is not None:
            self._seen.status, self._seen.code = end.error


@contextmanager
def observe(endpoint: str, tenant: str = DEFAULT_TENANT, *, timed: bool = True) -> Iterator[Observation]:
    """Observe a tenant's request from its arrival to its end, however it ends."""
    seen = Observation(endpoint, tenant, timed=timed)
    open_requests = metrics.REQUESTS_OPEN.labels(endpoint)
    open_requests.inc()
    try:
        yield seen
    except TesseraError as error:
        seen.failed(error)
        raise
    except asyncio.CancelledError:
        seen.failed(Cancelled("The gateway stopped before the answer was complete."))
        raise
    except Exception as error:
        seen.failed(TesseraError(repr(error)))
        raise
    finally:
        open_requests.dec()
        seen._conclude()
