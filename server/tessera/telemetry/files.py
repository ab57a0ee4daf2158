"""Prometheus metrics of files that clients upload."""

from __future__ import annotations

from prometheus_client import Counter

bytes_in = Counter("tessera_files_bytes_in", "Bytes of files, and of parts of them, that were written to the store.")
bytes_out = Counter("tessera_files_bytes_out", "Bytes of files that were read from the store.")
broken_off = Counter("tessera_files_broken_off", "Files, and parts of them, that did not come to their end.")
removed = Counter(
    "tessera_files_removed",
    "Files, and parts of them, that were removed from the store after their time, or as left over.",
)
