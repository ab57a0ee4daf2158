"""The Ray Serve deployment: a replica without HTTP ingress, whose jobs come from Redis."""

from __future__ import annotations

from typing import Any

from ray import serve

from tessera.settings import Settings
from tessera.telemetry import logging
from tessera.worker import torch_compat
from tessera.worker.fleet import of_ray_serve

HEALTH_CHECK_PERIOD_S = 1.0
# An engine that starts answers late; one that hangs is found by its leases first.
HEALTH_CHECK_TIMEOUT_S = 30.0
# Beyond the drain: time to end the engine's processes.
STOP_S = 20.0


class Worker:
    """What Ray Serve starts, asks for its health, and stops."""

    async def __init__(self, settings: dict[str, Any]):  # type: ignore[misc]  # Ray Serve awaits it
        parsed = Settings(**settings)
        logging.configure(parsed)
        torch_compat.activate()
        from tessera.worker.replica import Replica

        self._replica = Replica(parsed, fleet=of_ray_serve)
        await self._replica.start()

    async def check_health(self) -> None:
        """Raises where the replica has to be replaced."""
        self._replica.check_health()

    async def __del__(self) -> None:
        """Drain and stop; Ray Serve awaits it."""
        await self._replica.stop()


def build_application(settings: Settings, arguments: dict[str, Any] | None = None) -> serve.Application:
    """The application to run on a Ray cluster: ``TESSERA_REPLICAS`` workers.

    Args:
        arguments: what workers get of the settings, and take the rest from their own environment; None: all of it.

    Raises:
        ValueError: parts of GPUs, or none, are to be spread over machines.
    """
    deploy: Any = serve.deployment(
        name="worker",
        num_replicas=settings.replicas,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=settings.drain_timeout_s + STOP_S,
        **_place(settings),
    )
    bound = settings.model_dump(mode="json") if arguments is None else arguments
    application: serve.Application = deploy(Worker).bind(bound)
    return application


def _place(settings: Settings) -> dict[str, Any]:
    """What Ray reserves for a replica."""
    gpus = settings.gpus_per_replica
    if not settings.gpus_across_nodes:
        return {"ray_actor_options": {"num_cpus": 1, "num_gpus": gpus}}
    if gpus < 1 or gpus % 1:
        raise ValueError(f"TESSERA_GPUS_ACROSS_NODES needs whole GPUs: TESSERA_GPUS_PER_REPLICA is {gpus:g}.")
    # vLLM takes the placement group that it finds itself in, and at most one GPU of each bundle.
    bundles = [{"CPU": 1, "GPU": 1}, *({"GPU": 1} for _ in range(int(gpus) - 1))]
    return {
        "ray_actor_options": {"num_cpus": 1, "num_gpus": 0},
        "placement_group_bundles": bundles,
        "placement_group_strategy": "PACK",
    }
