"""Prometheus metrics of the Redises that gateways and workers share: ``queue``, and ``media`` where it has its own."""

from __future__ import annotations

from prometheus_client import Gauge

UP = Gauge("tessera_redis_up", "Whether Redis answers this gateway, and can be used as it is set up.", ["redis"])
PING_SECONDS = Gauge(
    "tessera_redis_ping_seconds", "What the last PING of this gateway took, there and back.", ["redis"]
)
MEMORY_BYTES = Gauge("tessera_redis_memory_bytes", "Memory that Redis uses.", ["redis"])
MAX_MEMORY_BYTES = Gauge("tessera_redis_max_memory_bytes", "Its maxmemory; 0: none.", ["redis"])
CERTIFICATE_END = Gauge(
    "tessera_certificate_end_timestamp_seconds",
    "Until when a certificate for Redis is valid (Unix time): this gateway's own (client), the last authority (ca).",
    ["certificate"],
)
