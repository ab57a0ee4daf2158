"""What the metrics and the log learn of one request."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from prometheus_client import Gauge

from tessera.errors import Cancelled, StreamNotResumed, TesseraError
from tessera.gateway.planning import Expectation
from tessera.gateway.price import price_of_answer
from tessera.queue import End, Head, token_counts
from tessera.settings import DEFAULT_TENANT, PriceSettings
from tessera.telemetry import metrics
from tessera.telemetry.spans import Kind, Span, carried_in, trace_of
from tessera.telemetry.tenants import tenant_label
from tessera.telemetry.tracing import tracer

log = structlog.get_logger()

UNKNOWN = "unknown"
_OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}
_USAGE = {
    "prompt": "gen_ai.usage.input_tokens",
    "completion": "gen_ai.usage.output_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
}


class Observation:
    """Times and counts of a request; its labels are known step by step.

    Args:
        share: of requests that end well, those of which the log says a line.
        carried: headers of the trace that the request belongs to.
        prices: what tokens cost; None: nobody says.

    Attributes:
        tenant: who asks.
        model: ``UNKNOWN`` until the model was found, so that clients cannot make up label values.
        alias: by which it was asked for, and ``target``, which that stood for; empty: by none.
        ended: the end of the answer was seen, and what it took is counted.
        expected: what an engine is to count of its media, where that is known.
        learn_text: to be told how many tokens its text was, where nobody could count them.
        stages_s: how long each took, by name, in their order.
        carried: the same, for whoever goes on with the request.

    Args:
        timed: how long it takes is measured; a request that gives way to others tells nothing by that.
    """

    def __init__(
        self,
        endpoint: str,
        tenant: str,
        share: float = 0.0,
        carried: dict[str, str] | None = None,
        *,
        timed: bool = True,
        prices: PriceSettings | None = None,
    ):
        carried = carried or {}
        self.endpoint = endpoint
        self._prices = prices
        self._timed = timed
        self.tenant = tenant
        self.model = UNKNOWN
        self.alias = self.target = ""
        self.job_id = ""
        self.ended = False
        self.expected: Expectation | None = None
        self.learn_text: Callable[[int], None] | None = None
        self.status = 200
        self.code = ""
        self.stages_s: dict[str, float] = {}
        self._tracer = tracer()
        self._span = self._tracer.begin(f"POST {endpoint}", Kind.SERVER, carried) if self._tracer else None
        self.carried = carried if self._span is None else self._span.carried()
        # With what is measured: of a trace that somebody can look at.
        self._exemplar = {"trace_id": self._span.trace} if self._span is not None and self._span.sampled else None
        self._share = share
        self._attempts = 0
        self._resumed = False
        self._tokens: dict[str, int] = {}
        self._started = self._last = self._stage_began = time.perf_counter()
        self._first: float | None = None
        self._itl: Any = None
        self._backlog: tuple[Gauge, int] | None = None
        self._error: dict[str, str | None] = {}

    def stage(self, name: str) -> None:
        """A part of the way is done."""
        now = time.perf_counter()
        self.stages_s[name] = now - self._stage_began
        if self._tracer is not None and self._span is not None:
            part = self._span.child(name)
            part.start_ns -= int((now - self._stage_began) * 1e9)
            self._tracer.end(part)
        self._stage_began = now

    def queued(self, prompt_tokens: int) -> None:
        """The request waits for a worker, with a prompt of about so many tokens."""
        gauge = metrics.BACKLOG_TOKENS.labels(self.model, "interactive" if self._timed else "batch")
        gauge.inc(prompt_tokens)
        self._backlog = gauge, prompt_tokens

    def _waits_no_more(self) -> None:
        if self._backlog is not None:
            gauge, tokens = self._backlog
            gauge.dec(tokens)
            self._backlog = None

    def head(self, head: Head) -> None:
        """The answer begins."""
        self._waits_no_more()
        self.status, self._attempts = head.status, head.attempts
        self.stages_s["queue"] = head.wait_ms / 1000
        if self._timed:
            metrics.QUEUE_WAIT.labels(self.model).observe(head.wait_ms / 1000, self._exemplar)
        if head.attempts > 1:
            metrics.REDELIVERED.labels(self.model).inc()

    def piece(self) -> None:
        """A piece of the answer goes out."""
        now = time.perf_counter()
        if self._first is None:
            self._first = now
            if self._timed and self.status < 400:
                metrics.TTFT.labels(self.model).observe(now - self._started, self._exemplar)
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
            if self._attempts <= 1 < end.attempts:
                metrics.REDELIVERED.labels(self.model).inc()
        self._resumed, self._attempts = end.resumed, max(self._attempts, end.attempts)
        self._tokens = count_tokens(self.model, end.usage, self.tenant, self._prices)
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
        self._waits_no_more()
        elapsed = time.perf_counter() - self._started
        metrics.REQUESTS.labels(self.model, self.endpoint, str(self.status), self.code).inc()
        metrics.TENANT_REQUESTS.labels(tenant_label(self.tenant), str(self.status)).inc()
        if self._tracer is not None and self._span is not None:
            self._describe(self._span)
            self._tracer.end(self._span)
        if self.status == 200:
            if self._timed:
                metrics.E2E.labels(self.model, self.endpoint).observe(elapsed, self._exemplar)
            if self._share and random.random() < self._share:
                self._tell(log.info, "request_answered", elapsed)
        else:
            self._tell(log.warning if self.status >= 500 else log.info, "request_failed", elapsed)

    def _describe(self, span: Span) -> None:
        """By the conventions of OpenTelemetry for HTTP and for generative AI; what they do not have is ours."""
        span.attributes |= {
            "http.request.method": "POST",
            "http.route": self.endpoint,
            "http.response.status_code": self.status,
            "gen_ai.operation.name": _OPERATIONS.get(self.endpoint, self.endpoint),
            "gen_ai.provider.name": "tessera",
            "gen_ai.request.model": self.model,
            "tessera.request.id": self.job_id,
            "tessera.tenant": self.tenant,
            "tessera.attempts": self._attempts,
            "tessera.resumed": self._resumed,
        }
        if self.alias:
            span.attributes |= {"tessera.alias": self.alias, "tessera.target": self.target}
        for kind, count in self._tokens.items():
            span.attributes[_USAGE.get(kind, f"tessera.usage.{kind}_tokens")] = count
        if self._first is not None:
            span.attributes["gen_ai.server.time_to_first_token"] = self._first - self._started
        if self.status >= 400:
            span.attributes["error.type"] = self.code
        if self.status >= 500:
            span.error = self.code

    def _tell(self, write: Callable[..., Any], event: str, elapsed_s: float) -> None:
        """The one line of a request: where its time went and what came of it, and nothing of what was in it."""
        stages = {name: round(took_s, 4) for name, took_s in self.stages_s.items()}
        if self._first is not None:
            stages["first"] = round(self._first - self._started, 4)
        write(
            event,
            job=self.job_id,
            tenant=self.tenant,
            model=self.model,
            **({"alias": self.alias, "target": self.target} if self.alias else {}),
            endpoint=self.endpoint,
            status=self.status,
            code=self.code,
            seconds=round(elapsed_s, 4),
            stages=stages,
            tokens=self._tokens,
            attempts=self._attempts,
            resumed=self._resumed,
            **({"trace": trace} if (trace := trace_of(self.carried)) else {}),
            **self._error,
        )


def _text_tokens(usage: dict[str, Any]) -> int:
    media: dict[str, int] = (usage.get("prompt_tokens_details") or {}).get("multimodal_tokens") or {}
    return int(usage.get("prompt_tokens") or 0) - sum(media.values())


def count_tokens(model: str, usage: dict[str, Any], tenant: str, prices: PriceSettings | None) -> dict[str, int]:
    """Count what an answer took, by vLLM's usage object, and what it costs. Returns its tokens, by kind."""
    counts, label = token_counts(usage), tenant_label(tenant)
    for kind, count in counts.items():
        metrics.TOKENS.labels(model, kind).inc(count)
        metrics.TENANT_TOKENS.labels(label, kind).inc(count)
    if prices is not None and (own := prices.prices_of(model)) is not None:
        cost = price_of_answer(own, counts)
        metrics.TENANT_COST.labels(label, model, prices.price_currency).inc(cost)
    return counts


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
def observe(
    endpoint: str,
    tenant: str = DEFAULT_TENANT,
    *,
    share: float = 0.0,
    headers: Iterable[tuple[bytes, bytes]] = (),
    timed: bool = True,
    prices: PriceSettings | None = None,
) -> Iterator[Observation]:
    """Observe a tenant's request from its arrival to its end, however it ends. Arguments: see ``Observation``."""
    seen = Observation(endpoint, tenant, share, carried_in(headers), timed=timed, prices=prices)
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
