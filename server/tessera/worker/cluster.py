"""``tessera worker``: puts the deployment on a Ray cluster, its own or a shared one, and keeps it there."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from logging import WARNING

import psutil
import ray
import structlog
from ray import serve

from tessera.processes import Stopped, adopt_orphans, end_descendants, stop_on_signals
from tessera.settings import MIB, Settings
from tessera.worker.deployment import build_application
from tessera.worker.failure import DeploymentFailed, reason
from tessera.worker.retirement import retire

log = structlog.get_logger()

# Requests and replies do not go through Ray's object store.
OBJECT_STORE_BYTES = 100 * MIB
# Of every process of Ray's.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's default, 15, lets any other process starve the engine.
    "RAY_worker_niceness": "0",
    # A replica that is killed takes its engine's processes with it.
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true",
    # Ray's own warning about a setting of GPUs that has no meaning for us.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def run_worker(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then drain, and leave no process behind.

    Raises:
        DeploymentFailed: Ray did not start, or no replica came up; with the reason.
    """
    name = f"tessera-{settings.resolved_model_name()}".replace("/", "-")
    if os.path.exists(settings.model):
        settings = settings.model_copy(update={"model": os.path.abspath(settings.model)})  # replicas run elsewhere
    own_cluster = not settings.ray_address
    if own_cluster:
        adopt_orphans()
    with stop_on_signals() as listen_again:
        try:
            _join(settings)
            listen_again()  # Ray has put its own handler there, which prints a stack
            if own_cluster and (missing := missing_gpus(settings, _gpus())):
                raise DeploymentFailed(missing)
            serve.start(proxy_location="Disabled")
            _deploy(settings, name)
            log.info("worker_deployed", application=name, replicas=settings.replicas)
            while True:
                signal.pause()
        except Stopped:
            log.info("worker_stopping", application=name)
        finally:
            _leave(settings, name, own_cluster)


def _join(settings: Settings) -> None:
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if settings.ray_address:
        ray.init(address=settings.ray_address, namespace="tessera", logging_level=WARNING)
        return
    cores = max(psutil.cpu_count() or 1, settings.replicas + 1)
    try:
        ray.init(
            address="local",
            num_cpus=cores,
            namespace="tessera",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=WARNING,
        )
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        raise DeploymentFailed(
            "The path of Ray's temporary folder, in $RAY_TMPDIR or else $TMPDIR, is too long for its sockets: "
            "set RAY_TMPDIR to a shorter one, such as /tmp."
        ) from error


def _gpus() -> float:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get("GPU", 0)


def missing_gpus(settings: Settings, there: float) -> str:
    """Why replicas cannot start on a machine with so many GPUs; empty: they can. Ray would wait for more, silently."""
    needed = settings.gpus_per_replica * settings.replicas
    if needed <= there:
        return ""
    asked = f"TESSERA_GPUS_PER_REPLICA={settings.gpus_per_replica:g} and TESSERA_REPLICAS={settings.replicas}"
    if there:
        return f"{asked} need {needed:g} GPUs, and there are {there:g} here."
    return (
        f"{asked} need a GPU, and Ray finds none here. Does this machine have one (`nvidia-smi`), and was it given to "
        "the container (`--gpus all`; in Kubernetes the device plug-in and `nvidia.com/gpu` among the pod's limits)?"
    )


def _deploy(settings: Settings, name: str) -> None:
    try:
        serve.run(build_application(settings), name=name, route_prefix=None)
    except RuntimeError as error:
        application = serve.status().applications.get(name)
        told = [d.message for d in application.deployments.values()] if application else []
        raise DeploymentFailed(f"The worker did not start: {reason(told) or error}") from error


def _leave(settings: Settings, name: str, own_cluster: bool) -> None:
    if ray.is_initialized():
        with suppress(Exception):  # Ray may be what failed; what it started is ended below
            serve.delete(name)
            if own_cluster:
                serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
    if own_cluster:
        end_descendants()
    asyncio.run(retire(settings))
