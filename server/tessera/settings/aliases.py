"""Other names of models."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from tessera.settings.lists import listed


class AliasSettings(BaseSettings):
    """Those that there are from the beginning, and how many an operator may set while the server runs."""

    aliases: str = Field(
        "", description="Other names of models, separated by commas: `gpt-4o=tessera-nano, small=tessera-nano`."
    )
    max_aliases: int = Field(100, ge=0, description="Most aliases that are set while the server runs; 0: none may be.")

    @field_validator("aliases")
    @classmethod
    def _check_aliases(cls, value: str) -> str:
        for item in listed(value):
            alias, _, model = (part.strip() for part in item.partition("="))
            if not alias or not model:
                raise ValueError(f"{item!r} is not `name=model`")
        named = _named(value)
        if len(named) < len(listed(value)):
            raise ValueError("a name stands twice")
        if chained := [name for name in named.values() if name in named]:
            raise ValueError(f"{chained[0]!r} is a name of another model itself")
        return value

    def models_by_alias(self) -> dict[str, str]:
        """Of ``TESSERA_ALIASES``: the model that each name means."""
        return _named(self.aliases)


def _named(value: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in listed(value))
    return {name.strip(): model.strip() for name, _, model in pairs}
