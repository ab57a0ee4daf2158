from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from tessera.telemetry.slowest_hosts import OTHER, SlowestHosts


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def hosts(clock, registry):
    return SlowestHosts("x", "tests", shown=2, window_s=50, most_hosts=10, clock=clock, registry=registry)


@pytest.fixture
def shown(registry):
    def read(kind="seconds"):
        [family] = [f for f in registry.collect() if f.name == f"x_{kind}"]
        return {sample.labels["host"]: sample.value for sample in family.samples}

    return read


def test_the_slowest_have_names_and_all_others_one(hosts, shown):
    for host, seconds in (("a", 1.0), ("b", 0.25), ("c", 2.0), ("d", 0.25), ("a", 0.5)):
        hosts.add(host, seconds)
    assert shown() == {"a": 1.5, "c": 2.0, OTHER: 0.5}
    assert shown("requests") == {"a": 2, "c": 1, OTHER: 2}


def test_what_is_long_ago_is_forgotten_bit_by_bit(hosts, shown, clock):
    for _ in range(10):
        hosts.add("a", 1.0)
        clock.now += 10
    assert 4 <= shown()["a"] <= 5
    clock.now += 50
    assert shown() == {}


def test_names_that_nobody_has_seen_before_take_no_memory_and_hide_no_slow_host(hosts, shown):
    hosts.add("slow", 5.0)
    for number in range(10_000):
        hosts.add(f"host-{number}", 0.001)
        assert len(hosts._slots[-1].hosts) <= 11
    hosts.add("late", 4.0)
    assert set(shown()) == {"slow", "late", OTHER}
    assert sum(shown("requests").values()) == 10_002
    assert sum(shown().values()) == pytest.approx(19.0)
