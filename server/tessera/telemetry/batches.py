"""Prometheus metrics of batches."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

running = Gauge("tessera_batches_running", "Batches that this gateway runs.")
ended = Counter("tessera_batches_ended", "Batches that ended at this gateway, by how.", ["status"])
unmade = Counter(
    "tessera_batch_files_not_made", "Files of batches that their tenants have no room for, and why.", ["kind", "code"]
)
lines = Counter("tessera_batch_lines", "Requests of batches that were answered, by how.", ["outcome"])
repeated = Counter("tessera_batch_lines_repeated", "Tries of requests of batches that are to be made again.", ["code"])
