"""All settings, in one class: by environment variable (``TESSERA_…``), ``tessera.env`` file or command-line flag.

Each area has a file of its own.
"""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from tessera.settings.adapters import AdapterSettings
from tessera.settings.aliases import AliasSettings
from tessera.settings.batches import BatchSettings
from tessera.settings.fetch import FetchSettings
from tessera.settings.files import FileSettings
from tessera.settings.gateway import GatewaySettings
from tessera.settings.http import HttpSettings
from tessera.settings.media import MediaSettings
from tessera.settings.media_store import MediaStoreSettings
from tessera.settings.memory import MemorySettings
from tessera.settings.prices import Prices, PriceSettings
from tessera.settings.queue import QueueSettings
from tessera.settings.responses import ResponseSettings
from tessera.settings.simulated import SimulatedSettings
from tessera.settings.telemetry import TelemetrySettings
from tessera.settings.tenants import DEFAULT_TENANT, TenantSettings
from tessera.settings.units import MIB
from tessera.settings.visual import VisualDefaults, VisualSettings
from tessera.settings.worker import (
    EMBEDDED_ENGINE_ARGS,
    EMBEDDED_MODEL,
    EMBEDDED_MODEL_NAME,
    SIMULATED,
    VLLM,
    WorkerSettings,
)

__all__ = [
    "DEFAULT_TENANT",
    "EMBEDDED_ENGINE_ARGS",
    "EMBEDDED_MODEL",
    "EMBEDDED_MODEL_NAME",
    "MIB",
    "SIMULATED",
    "VLLM",
    "PriceSettings",
    "Prices",
    "Settings",
    "VisualDefaults",
]


class Settings(
    TelemetrySettings,
    AdapterSettings,
    AliasSettings,
    BatchSettings,
    FetchSettings,
    FileSettings,
    MediaSettings,
    MediaStoreSettings,
    VisualSettings,
    PriceSettings,
    MemorySettings,
    SimulatedSettings,
    WorkerSettings,
    TenantSettings,
    GatewaySettings,
    HttpSettings,
    QueueSettings,
    ResponseSettings,
):
    """Defaults suit one machine; every field's unit is in its name."""

    model_config = SettingsConfigDict(env_prefix="TESSERA_", env_file="tessera.env", extra="ignore", frozen=True)
