"""Logs."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class TelemetrySettings(BaseSettings):
    """What is logged, and how."""

    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level logged.")
    log_format: str = Field("auto", pattern="^(auto|json|console)$", description="auto: console on a terminal.")
