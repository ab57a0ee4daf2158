"""Prometheus metrics of batches."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

running = Gauge("tessera_batches_running", "Batches that this gateway runs.")
ended = Counter("tessera_batches_ended", "Batches that ended at this gateway, by how.", ["status"])
lines = Counter("tessera_batch_lines", "Requests of batches that were answered, by how.", ["outcome"])
repeated = Counter("tessera_batch_lines_repeated", "Tries of requests of batches that are to be made again.", ["code"])
