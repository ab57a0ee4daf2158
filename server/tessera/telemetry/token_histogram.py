"""A histogram for what happens with every token: to count costs a fraction of what it does in the client library's.

That one takes locks for threads, two for each observation. Here one thread counts, that of the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Series:
    """The observations of one value of the label."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]):
        self._bounds = bounds
        # By bucket, each without those below it; the last is of what is above all bounds.
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class TokenHistogram(Collector):
    """A histogram with one label.

    Args:
        bounds: upper bounds of the buckets but the last, ascending.
    """

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]):
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = tuple(bounds)
        self._series: dict[str, Series] = {}
        REGISTRY.register(self)

    def labels(self, value: str) -> Series:
        """Where to count what has this value of the label."""
        if (series := self._series.get(value)) is None:
            series = self._series[value] = Series(self._bounds)
        return series

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for value, series in self._series.items():
            family.add_metric([value], list(zip(names, accumulate(series.counts), strict=True)), series.total)
        yield family
