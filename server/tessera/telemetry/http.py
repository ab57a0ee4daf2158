"""Prometheus metrics of the gateway's connections. Labels are error codes: their number is bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

connections_open = Gauge("tessera_connections_open", "Open connections of clients.")
connections_evicted = Counter(
    "tessera_connections_evicted", "Connections that waited for a request, closed to make room for new ones."
)
connections_stalled = Counter(
    "tessera_connections_stalled", "Connections whose clients took nothing of their answers, cut off."
)
requests_refused = Counter(
    "tessera_http_requests_refused", "Connections and requests refused before they had an endpoint.", ["code"]
)
# Alerts look for the first one, which is an increase only from 0.
requests_refused.labels("too_many_connections")
