"""What Ray Serve imports when it is told of workers by a configuration (``serveConfigV2`` of a KubeRay ``RayService``).

Its arguments are settings by their names, such as ``{"model": "Qwen/Qwen2.5-Omni-7B", "replicas": 2}``. They can be
read in Ray's dashboard, so that secrets do not belong there: every pod has those in its own environment, where a worker
looks for all that the arguments do not say.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict
from ray import serve

from tessera.settings import Settings
from tessera.worker.deployment import build_application


class _Arguments(Settings):
    """Settings, no other names."""

    model_config = SettingsConfigDict(extra="forbid")


# Ray Serve would read the arguments into a model by itself; which of them were said could not be told any more.
def application(arguments: dict[str, Any]) -> serve.Application:
    """Workers, as many as the argument ``replicas`` says.

    Raises:
        ValueError: an argument, or the environment, is wrong; in one line.
    """
    try:
        settings = _Arguments(**arguments)
    except ValidationError as error:
        problems = (f"{problem['loc'][0]}: {problem['msg']} (it is {problem['input']!r})" for problem in error.errors())
        raise ValueError("The application's arguments are wrong: " + "; ".join(problems)) from None
    if not settings.redis_url:
        raise ValueError("TESSERA_REDIS_URL is not set in the pods' environment: gateways and workers meet in Redis.")
    return build_application(settings, arguments)
