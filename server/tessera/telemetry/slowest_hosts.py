"""Which hosts media takes longest to come from: a metric whose labels clients choose, and that is bounded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import nlargest

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

OTHER = "other"

_SLOTS = 5


@dataclass(slots=True)
class _Slot:
    """What happened in one part of the window: host to seconds and requests."""

    began: float
    hosts: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, host: str, seconds: float, requests: int) -> None:
        before_s, before = self.hosts.get(host, (0.0, 0))
        self.hosts[host] = (before_s + seconds, before + requests)


class SlowestHosts(Collector):
    """Seconds that were spent on hosts, and requests to them, in the last minutes: few by name, all others together.

    Args:
        name: of the metrics, before ``_seconds`` and ``_requests``.
        what: what is done with hosts, for the documentation.
        shown: hosts that have a name, those with the most seconds.
        window_s: how far back it looks, about.
        most_hosts: hosts that are told apart in a fifth of the window; of more, the quickest are put together.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        what: str,
        *,
        shown: int = 10,
        window_s: float = 300.0,
        most_hosts: int = 1000,
        clock: Callable[[], float] = time.monotonic,
        registry: CollectorRegistry = REGISTRY,
    ):
        self._name = name
        self._what = what
        self._shown = shown
        self._slot_s = window_s / _SLOTS
        self._most_hosts = most_hosts
        self._clock = clock
        self._slots: deque[_Slot] = deque()
        registry.register(self)

    def add(self, host: str, seconds: float) -> None:
        """A request to ``host`` took so long."""
        slot = self._current()
        if host not in slot.hosts and len(slot.hosts) >= self._most_hosts:
            self._put_together(slot)
        slot.add(host, seconds, 1)

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        self._forget_old()
        together = _Slot(0.0)
        for slot in list(self._slots):
            for host, (seconds, requests) in list(slot.hosts.items()):
                together.add(host, seconds, requests)
        named = set(nlargest(self._shown, together.hosts.keys() - {OTHER}, key=lambda host: together.hosts[host]))
        self._put_together(together, named)
        spent = GaugeMetricFamily(
            f"{self._name}_seconds", f"Seconds that {self._what} took in the last minutes, by host.", labels=["host"]
        )
        count = GaugeMetricFamily(
            f"{self._name}_requests", f"Requests for {self._what} in the last minutes, by host.", labels=["host"]
        )
        for host, (seconds, requests) in together.hosts.items():
            spent.add_metric([host], seconds)
            count.add_metric([host], requests)
        return [spent, count]

    def describe(self) -> Iterable[Metric]:
        """For the registry, which would otherwise collect."""
        return [GaugeMetricFamily(f"{self._name}_{kind}", "") for kind in ("seconds", "requests")]

    def _current(self) -> _Slot:
        self._forget_old()
        now = self._clock()
        if not self._slots or now >= self._slots[-1].began + self._slot_s:
            self._slots.append(_Slot(now))
        return self._slots[-1]

    def _forget_old(self) -> None:
        while self._slots and self._slots[0].began <= self._clock() - _SLOTS * self._slot_s:
            self._slots.popleft()

    def _put_together(self, slot: _Slot, named: set[str] | None = None) -> None:
        """Count all but those that keep their names as one."""
        if named is None:
            named = set(nlargest(self._most_hosts // 2, slot.hosts, key=lambda host: slot.hosts[host]))
        for host in slot.hosts.keys() - named - {OTHER}:
            slot.add(OTHER, *slot.hosts.pop(host))
