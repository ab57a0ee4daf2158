"""Logs."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class TelemetrySettings(BaseSettings):
    """What is logged, and how."""

    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level logged.")
    log_format: str = Field("auto", pattern="^(auto|json|console)$", description="auto: console on a terminal.")
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^?#]+)?$",
        description="Collector of traces that takes OTLP over HTTP, such as http://collector:4318; empty: no traces.",
    )
    trace_percent: float = Field(
        100.0, ge=0, le=100, description="Requests that are traced, of those that come without a trace."
    )
    log_requests_percent: float = Field(
        100.0, ge=0, le=100, description="Requests that end well of which a line is logged; of others it always is."
    )
