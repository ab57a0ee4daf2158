"""Who may use the API."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings

# Whoever asks where no key is needed, and whose key is ``TESSERA_API_KEY``.
DEFAULT_TENANT: Final = "default"


class TenantSettings(BaseSettings):
    """API keys, and the tenants that they belong to."""

    api_key: str = Field("", repr=False, description="Key that clients have to send, as the tenant `default`.")
    api_keys_file: Path | None = Field(
        None,
        description="File of keys that clients may send: the name of a tenant and a key in each line; read again when "
        "it changes.",
    )
    admin_key: str = Field(
        "",
        repr=False,
        pattern=r"^([!-~]{16,512})?$",
        description="Key for `/admin`, of 16 or more visible ASCII characters; empty: nobody gets in there.",
    )
    metrics_auth: bool = Field(False, description="Whether `/metrics` asks for a key, too.")
