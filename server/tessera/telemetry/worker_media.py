"""Prometheus metrics of a worker's media, beside those of vLLM (``TESSERA_ENGINE_PORT``)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

reads = Counter(
    "tessera_worker_media_reads",
    "Items that requests asked for, by where they came from: memory (kept there), shared (read for another request at "
    "the same time), store.",
    ["source"],
)
kept_bytes = Gauge("tessera_worker_media_kept_bytes", "Decoded media that this worker keeps in memory.")
