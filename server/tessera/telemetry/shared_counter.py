"""Counters whose values are in Redis, where any process counts; every gateway tells the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class SharedCounter(Collector):
    """One counter, with its values as they were read last."""

    def __init__(self, name: str, documentation: str, labels: Iterable[str]):
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._values: Mapping[tuple[str, ...], int] = {}
        REGISTRY.register(self)

    def set(self, values: Mapping[tuple[str, ...], int]) -> None:
        """Replace all values, by the values of their labels."""
        self._values = values

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family
