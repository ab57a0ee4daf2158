"""``tessera worker --engine simulated``: replicas in one process, without Ray, until it is told to stop."""

from __future__ import annotations

import asyncio
import secrets
import signal

import structlog
import uvloop

from tessera.queue import REDIS_UNAVAILABLE, Directory, connect
from tessera.queue.keys import Keys
from tessera.settings import SIMULATED, Settings
from tessera.worker.failure import DeploymentFailed
from tessera.worker.fleet import Fleet
from tessera.worker.replica import Replica
from tessera.worker.retirement import retire

log = structlog.get_logger()

HEALTH_CHECK_PERIOD_S = 1.0


def run_simulated(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then drain.

    Raises:
        DeploymentFailed: Redis is away, real workers serve a model of that name, or a replica failed.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(settings))
        finally:
            runner.run(retire(settings))


async def _serve(settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await _keep_apart(settings)
    fleet = Fleet(secrets.token_hex(8), settings.replicas)
    replicas = [Replica(settings, fleet=lambda: fleet) for _ in range(settings.replicas)]
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        log.info("worker_deployed", replicas=len(replicas))
        while not stop.is_set():
            try:
                async with asyncio.timeout(HEALTH_CHECK_PERIOD_S):
                    await stop.wait()
            except TimeoutError:
                for replica in replicas:
                    replica.check_health()
    except RuntimeError as error:
        raise DeploymentFailed(f"The worker stopped: {error}") from error
    finally:
        log.info("worker_stopping", replicas=len(replicas))
        await asyncio.gather(*(replica.stop() for replica in replicas))


async def _keep_apart(settings: Settings) -> None:
    """Made-up answers do not mix with real ones."""
    redis = connect(settings, name="worker-start")
    try:
        served = await Directory(redis, Keys(settings.redis_prefix)).models()
    except REDIS_UNAVAILABLE as error:
        raise DeploymentFailed(f"Redis cannot be reached: {error}") from error
    finally:
        await redis.aclose()
    model = settings.resolved_model_name()
    if any(m.workers and m.card.model == model and m.card.engine != SIMULATED for m in served):
        raise DeploymentFailed(
            f"Workers with a real engine serve the model `{model}`: a simulated one does not join them. "
            "Give it another name (TESSERA_SERVED_MODEL_NAME)."
        )
