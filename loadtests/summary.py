"""From rounds to numbers: medians, percentiles, ratios between the two sides, and the targets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from loadtests.requests import Workload
from loadtests.round import Round

# Throughput through the gateway, as a share of the direct one, under load.
LEAST_RATIO = 0.75
LOADED_STREAMS = 16
# What the gateway may add to the time to first token of a single stream.
MOST_ADDED_TTFT_MS = 2.0


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear interpolation between the two nearest values, as numpy does by default; NaN without values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of one number per round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """NaN without values."""
        return cls(median(values), min(values), max(values)) if values else cls(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Pair:
    """A direct round and the gateway's round beside it in time."""

    direct: Round
    gateway: Round

    @property
    def errors(self) -> Counter[str]:
        """Of both."""
        return self.direct.errors + self.gateway.errors


class Side:
    """One side of a cell, over all of its rounds."""

    def __init__(self, rounds: Sequence[Round]):
        self.requests = sum(len(r.answers) for r in rounds)
        self.requests_per_s = median(r.requests_per_s for r in rounds)
        self.tokens_per_s = median(r.tokens_per_s for r in rounds)
        ttft_ms = [value for r in rounds for value in r.ttft_ms]
        self.ttft_p50_ms, self.ttft_p99_ms = percentile(ttft_ms, 50), percentile(ttft_ms, 99)
        self.client_share = median(r.client_share for r in rounds)
        self.foreign_cores = median(r.foreign_cores for r in rounds)
        self.events_per_request = self._per_request(sum(a.events for r in rounds for a in r.answers))
        parts = sorted({part for r in rounds for part in r.cpu_s})
        self.cpu_ms_per_request = {
            part: self._per_request(1000 * sum(r.cpu_s.get(part, 0.0) for r in rounds)) for part in parts
        }
        self.errors = sum((r.errors for r in rounds), Counter[str]())

    def to_json(self) -> dict[str, Any]:
        """As it goes into the report file."""
        return dict(vars(self))

    def _per_request(self, total: float) -> float:
        return total / self.requests if self.requests else math.nan


class Cell:
    """One line of the report: a workload at a number of streams.

    Attributes:
        throughput_ratio: gateway / direct, of the rounds that stand side by side.
        added_ttft_ms: what the gateway adds to the median time to first token, likewise.
    """

    def __init__(self, workload: Workload, streams: int, pairs: Sequence[Pair]):
        self.workload = workload
        self.streams = streams
        self.direct = Side([pair.direct for pair in pairs])
        self.gateway = Side([pair.gateway for pair in pairs])
        self.throughput_ratio = self._over(
            pairs, lambda p: p.gateway.requests_per_s / p.direct.requests_per_s if p.direct.answers else math.nan
        )
        self.added_ttft_ms = self._over(
            pairs, lambda p: percentile(p.gateway.ttft_ms, 50) - percentile(p.direct.ttft_ms, 50)
        )

    @property
    def name(self) -> str:
        """Such as ``text, 16 streams``."""
        return f"{self.workload}, {self.streams} stream{'s' * (self.streams != 1)}"

    @property
    def errors(self) -> Counter[str]:
        """Of both sides."""
        return self.direct.errors + self.gateway.errors

    def verdicts(self) -> list[tuple[str, bool]]:
        """The targets that are set for this cell, and whether they are met. A cell with errors meets none."""
        verdicts = []
        sound = not self.errors
        if self.streams == LOADED_STREAMS:
            ratio = self.throughput_ratio.median
            text = f"{self.name}: throughput ratio {ratio:.2f} (target: at least {LEAST_RATIO})"
            verdicts.append((text, sound and ratio >= LEAST_RATIO))
        if self.streams == 1:
            added = self.added_ttft_ms.median
            text = f"{self.name}: {added:+.1f} ms to the first token (target: at most {MOST_ADDED_TTFT_MS:+.1f})"
            verdicts.append((text, sound and added <= MOST_ADDED_TTFT_MS))
        return verdicts

    def to_json(self) -> dict[str, Any]:
        """As it goes into the report file."""
        return {
            "workload": self.workload,
            "streams": self.streams,
            "direct": self.direct.to_json(),
            "gateway": self.gateway.to_json(),
            "throughput_ratio": self.throughput_ratio,
            "added_ttft_p50_ms": self.added_ttft_ms,
            "targets": [{"target": text, "met": met} for text, met in self.verdicts()],
        }

    @staticmethod
    def _over(pairs: Sequence[Pair], value: Callable[[Pair], float]) -> Spread:
        return Spread.of([number for pair in pairs if not math.isnan(number := value(pair))])
