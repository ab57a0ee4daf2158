"""What gateways' metrics say of a server, between one look and the next."""

from __future__ import annotations

import math
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 5.0

_Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Reading:
    """One gateway's metrics.

    Attributes:
        at_s: when, by whatever clock.
        values: by name, and then by labels.
    """

    at_s: float
    values: Mapping[str, Mapping[_Labels, float]]

    @classmethod
    def parse(cls, text: str, at_s: float) -> Reading:
        """From Prometheus' text. Raises ``ValueError``."""
        values: dict[str, dict[_Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name][frozenset(sample.labels.items())] = sample.value
        return cls(at_s, values)

    def sum_of(self, name: str, **labels: str) -> float:
        """Over all series that have these labels."""
        wanted = labels.items()
        return sum(value for have, value in self.values.get(name, {}).items() if wanted <= have)


def fetch(url: str, key: str, at_s: float) -> Reading:
    """Ask a gateway. Raises ``OSError``, or ``ValueError`` where that is no gateway."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return Reading.parse(response.read().decode(), at_s)


@dataclass(frozen=True)
class ModelNow:
    """A model, over all gateways that were asked.

    Attributes:
        workers: of the whole server, as are ``running``, ``waiting``, ``of_batches`` and ``oldest_s``.
        requests_s: answered in a second; of them ``errors_s`` with a status of 500 or more.
        ttft_s: medians and 95th percentiles of the time to the first token; None where there was none.
    """

    model: str
    workers: int
    running: int
    waiting: int
    of_batches: int
    oldest_s: float
    requests_s: float
    errors_s: float
    prompt_tokens_s: float
    completion_tokens_s: float
    ttft_s: tuple[float, float] | None


Pair = tuple[Reading, Reading]


def models_now(pairs: Sequence[Pair]) -> list[ModelNow]:
    """What happened between two readings of each gateway, by model; those that are not served any more are left out."""
    latest = [new for _, new in pairs]
    names = {dict(labels)["model"] for new in latest for labels in new.values.get("tessera_workers", {})}
    return [_model_now(name, pairs, latest) for name in sorted(names)]


def open_requests(pairs: Iterable[Pair]) -> int:
    """Requests that are being answered."""
    return round(sum(new.sum_of("tessera_requests_open") for _, new in pairs))


def _model_now(model: str, pairs: Sequence[Pair], latest: Sequence[Reading]) -> ModelNow:
    # Each gateway tells the same; one that cannot reach Redis tells nothing.
    def shared(name: str) -> float:
        return max(new.sum_of(name, model=model) for new in latest)

    def rate(name: str, **labels: str) -> float:
        return sum(_rate(pair, name, model=model, **labels) for pair in pairs)

    statuses = {dict(labels)["status"] for new in latest for labels in new.values.get("tessera_requests_total", {})}
    errors_s = sum(rate("tessera_requests_total", status=status) for status in statuses if status >= "500")
    return ModelNow(
        model,
        workers=round(shared("tessera_workers")),
        running=round(shared("tessera_jobs_running")),
        waiting=round(shared("tessera_queue_depth")),
        of_batches=round(shared("tessera_batch_queue_depth")),
        oldest_s=shared("tessera_oldest_waiting_job_seconds"),
        requests_s=rate("tessera_requests_total"),
        errors_s=errors_s,
        prompt_tokens_s=rate("tessera_tokens_total", kind="prompt"),
        completion_tokens_s=rate("tessera_tokens_total", kind="completion"),
        ttft_s=_quantiles(model, pairs),
    )


def _rate(pair: Pair, name: str, **labels: str) -> float:
    old, new = pair
    passed_s = new.at_s - old.at_s
    before, after = old.sum_of(name, **labels), new.sum_of(name, **labels)
    # A gateway that was started again counts from 0.
    return max(after - before if after >= before else after, 0.0) / passed_s if passed_s > 0 else 0.0


def _quantiles(model: str, pairs: Sequence[Pair]) -> tuple[float, float] | None:
    """As Prometheus' ``histogram_quantile``: evenly spread within a bucket."""
    name, buckets = "tessera_time_to_first_token_seconds_bucket", dict[float, float]()
    for pair in pairs:
        for labels in pair[1].values.get(name, {}):
            known = dict(labels)
            if known["model"] == model:
                up_to = float(known["le"])
                more = _rate(pair, name, model=model, le=known["le"]) * (pair[1].at_s - pair[0].at_s)
                buckets[up_to] = buckets.get(up_to, 0.0) + more
    ordered = sorted(buckets.items())
    if not ordered or not ordered[-1][1]:
        return None
    return _quantile(ordered, 0.5), _quantile(ordered, 0.95)


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    wanted, below, since = share * buckets[-1][1], 0.0, 0.0
    for up_to, number in buckets:
        if number >= wanted:
            if math.isinf(up_to):
                return since
            return since + (up_to - since) * (wanted - below) / (number - below) if number > below else up_to
        since, below = up_to, number
    return since
