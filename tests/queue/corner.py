"""The model and settings that the queue's tests work with."""

from __future__ import annotations

from tessera.settings import Settings

# A name that needs every quoting there is.
MODEL = "org/some model: ü{x}"


def with_other(settings: Settings, **changes: object) -> Settings:
    """The same corner of the Redis under other settings."""
    return settings.model_copy(update=changes)
