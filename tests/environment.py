"""Settings as a process gets them."""

from __future__ import annotations

import json

from tessera.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """Variables that say all that was set."""
    told = settings.model_dump(mode="json", exclude_unset=True)
    return {f"TESSERA_{k.upper()}": v if isinstance(v, str) else json.dumps(v) for k, v in told.items()}
