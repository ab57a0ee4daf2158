"""Prometheus metrics of the media stage. Labels are modalities, error codes and few hosts: their number is bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from tessera.telemetry.slowest_hosts import SlowestHosts

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# What comes in.
fetch_seconds = Histogram(
    "tessera_media_fetch_seconds", "Download of one media URL, failures included.", ["modality"], buckets=_SECONDS
)
encoded_bytes = Counter(
    "tessera_media_encoded_bytes",
    "Bytes as clients gave them, by where they came from: fetched (a URL), inline (base64), file (uploaded before).",
    ["modality", "source"],
)
hosts = SlowestHosts("tessera_media_host", "downloads of media")
duration_seconds = Counter(
    "tessera_media_duration_seconds",
    "How long the sound and videos of requests last, decoded now or before.",
    ["modality"],
)
cache_hits = Counter("tessera_media_cache_hits", "Media that was neither decoded nor stored again.", ["modality"])
cache_misses = Counter("tessera_media_cache_misses", "Media that had to be decoded.", ["modality"])
errors = Counter(
    "tessera_media_errors",
    "Media that was refused or failed, by error code; modality `unknown` where nothing said what it is.",
    ["modality", "code"],
)

# Memory of this gateway.
memory_bytes = Gauge(
    "tessera_media_memory_bytes",
    "Media in this gateway's memory, by what it is held for: encoded (fetched or read), decoding (until it is stored).",
    ["use"],
)
memory_waiting = Gauge("tessera_media_memory_waiting", "Media that waits for room in this gateway's memory.", ["use"])
memory_wait_seconds = Histogram(
    "tessera_media_memory_wait_seconds",
    "Wait for room in this gateway's memory, where there was none.",
    ["use"],
    buckets=_SECONDS,
)

# Decoding.
sandbox_processes = Gauge("tessera_media_sandbox_processes", "Processes that decode media, or could.")
sandbox_wait_seconds = Histogram(
    "tessera_media_sandbox_wait_seconds", "Wait of an item for a process that decodes.", ["modality"], buckets=_SECONDS
)
sandbox_starts = Counter("tessera_media_sandbox_starts", "Starts of processes that decode.")
sandbox_ends = Counter(
    "tessera_media_sandbox_ends",
    "Ends of processes that decode: crash, deadline, cancelled (nobody waited), replaced (after many tasks, or large).",
    ["reason"],
)
# Alerts look for the first one, which is an increase only from 0.
sandbox_ends.labels("crash")
fork_server_starts = Counter(
    "tessera_media_fork_server_starts", "Starts of the process that starts those that decode; it should be one."
)
decode_seconds = Histogram(
    "tessera_media_decode_seconds",
    "Decoding and packing of one item, without waiting for its turn.",
    ["modality"],
    buckets=_SECONDS,
)
decoded_bytes = Counter("tessera_media_decoded_bytes", "Bytes that decoding made, as they are stored.", ["modality"])
video_packets = Counter(
    "tessera_media_video_packets", "Packets of videos: decoded, or skipped as no wanted frame needs them.", ["outcome"]
)
pages = Counter("tessera_media_pages", "Pages of documents that were painted.")

# The store.
store_seconds = Histogram(
    "tessera_media_store_seconds", "Storing one item, with its wait for room.", ["modality"], buckets=_SECONDS
)
stored_bytes = Counter(
    "tessera_media_stored_bytes", "Bytes that were sent to the store; what it has is not sent again.", ["modality"]
)
store_waiting = Gauge("tessera_media_store_waiting", "Media that waits for room in the store.")
store_wait_seconds = Histogram(
    "tessera_media_store_wait_seconds", "Wait for room in the store, where there was none.", buckets=_SECONDS
)
holds_inherited = Counter(
    "tessera_media_holds_inherited", "Renewals of holds of media for requests that go on without their gateways."
)
