"""The OpenAPI description as the file ``openapi.yaml``; a test compares the two."""

from __future__ import annotations

import yaml

from tessera.gateway.app import create_app
from tessera.settings import Settings


def openapi_yaml() -> str:
    """The description of the application with default settings."""
    text: str = yaml.safe_dump(create_app(Settings()).openapi(), sort_keys=False, allow_unicode=True, width=120)
    return text
