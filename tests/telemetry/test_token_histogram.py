from __future__ import annotations

import random

from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest

from tessera.telemetry.token_histogram import TokenHistogram

BOUNDS = (0.001, 0.0025, 0.05, 1, 2.5, 300)


def lines(text: bytes) -> set[str]:
    """What was counted; the library's own also tells when it began."""
    return {line for line in text.decode().splitlines() if not line.startswith("#") and "_created" not in line}


def test_it_tells_what_the_librarys_own_histogram_tells():
    registry = CollectorRegistry()
    theirs = Histogram("token_gap_seconds", "Gaps.", ["model"], buckets=BOUNDS, registry=registry)
    ours = TokenHistogram("token_gap_seconds", "Gaps.", "model", BOUNDS)
    try:
        chosen = random.Random(1)
        for value in [*BOUNDS, 0, 301, *(chosen.expovariate(20) for _ in range(500))]:
            model = chosen.choice(["a", 'b"\\'])
            theirs.labels(model).observe(value)
            ours.labels(model).observe(value)
        own = CollectorRegistry()
        own.register(ours)
        assert lines(generate_latest(own)) == lines(generate_latest(registry))
    finally:
        REGISTRY.unregister(ours)


def test_nothing_is_told_before_there_is_something():
    ours = TokenHistogram("empty_seconds", "None.", "model", BOUNDS)
    try:
        own = CollectorRegistry()
        own.register(ours)
        assert not lines(generate_latest(own))
    finally:
        REGISTRY.unregister(ours)
