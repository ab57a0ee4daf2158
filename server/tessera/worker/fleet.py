"""How many workers are wanted: what Ray Serve, by its autoscaler or as it was told, is to run beside this one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tessera.telemetry.outage import Outage

PERIOD_S = 15.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers that are started and stopped together.

    Attributes:
        name: the same for each of them, and for no others with the same Redis.
        wanted: how many there are to be.
    """

    name: str
    wanted: int


async def follow(ask: Callable[[], Fleet], changed: Callable[[Fleet], Awaitable[None]]) -> None:
    """Tell of the fleet, and of each change within ``PERIOD_S``, until cancelled.

    Args:
        ask: may block.
    """
    outage, known = Outage("fleet_unknown", "fleet_known"), None
    while True:
        try:
            fleet = await asyncio.to_thread(ask)
            outage.works("ask")
            if fleet != known:
                await changed(fleet)
                known = fleet
        except Exception as error:  # whatever Ray says; a worker serves without it
            outage.failed("ask", error)
        await asyncio.sleep(PERIOD_S)


def of_ray_serve() -> Fleet:
    """Ask Ray Serve's controller, from within a replica. Raises whatever Ray does where it does not answer."""
    # Here: what is simulated has no Ray.
    import ray
    from ray import serve
    from ray.serve.context import _get_global_client

    own = serve.get_replica_context()
    # `serve.status()` has counts of replicas in each state, which is not how many there are to be.
    client = _get_global_client()
    if client is None:
        raise RuntimeError("Ray Serve has no controller")
    told = client.get_serve_details()
    deployment = told["applications"][own.app_name]["deployments"][own.deployment]
    cluster = ray.get_runtime_context().gcs_address
    return Fleet(f"{cluster}/{own.app_name}/{own.deployment}", int(deployment["target_num_replicas"]))
