"""The Lua scripts beside this file."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files


@lru_cache
def source(verb: str) -> str:
    """A script, with what all of them need in front of it."""
    folder = files("tessera.responses") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("common", verb))
