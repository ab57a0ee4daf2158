"""Metrics of responses that are kept."""

from __future__ import annotations

from prometheus_client import Counter

ENDED = Counter(
    "tessera_responses_ended", "Responses whose end was kept, whichever gateway saw to it, by status.", ["status"]
)
DROPPED = Counter("tessera_responses_dropped", "Responses that were dropped to make room for others of their tenant.")
