"""``tessera gateway``: the application under uvicorn."""

from __future__ import annotations

from typing import Any

import uvicorn

from tessera.gateway.app import create_app
from tessera.settings import Settings


def run_gateway(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; running requests get ``TESSERA_DRAIN_TIMEOUT_S`` to end."""
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, loop="uvloop", **server_options(settings))


def server_options(settings: Settings) -> dict[str, Any]:
    """Uvicorn's options, but for the address and the event loop."""
    return {
        "http": "httptools",
        "ws": "none",
        "access_log": False,
        "log_level": "warning",
        # As everything else is logged.
        "log_config": None,
        "timeout_graceful_shutdown": int(settings.drain_timeout_s),
        # Longer than load balancers keep idle connections (60 s): what they send as we close is lost.
        "timeout_keep_alive": 75,
        "server_header": False,
    }
