"""The command line. Every setting of ``settings.py`` is an environment variable; the most used are flags as well."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tessera import __version__, alias, batch_client, dead
from tessera.explain import explain
from tessera.flags import RedisUrl, read_settings, refusal, require_redis
from tessera.log_level import log_level
from tessera.settings import SIMULATED, Settings
from tessera.top import top

_T = TypeVar("_T")

# Beyond TESSERA_DRAIN_TIMEOUT_S: workers look once in a while, and give back what has not ended.
DRAIN_MARGIN_S = 10.0

app = typer.Typer(
    help="An inference server for multimodal language models. `tessera settings` lists what can be set.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(alias.app, name="alias")
app.add_typer(dead.app, name="dead")
app.add_typer(batch_client.app, name="batch")
app.command()(explain)
app.command("log-level")(log_level)
app.command()(top)

Port = Annotated[int | None, typer.Option(help="Port that the gateway listens on.", envvar="TESSERA_PORT")]
Host = Annotated[str | None, typer.Option(help="Address that the gateway listens on.", envvar="TESSERA_HOST")]
Model = Annotated[str | None, typer.Option(help="Path or hub name of the model.", envvar="TESSERA_MODEL")]
ModelName = Annotated[
    str | None, typer.Option("--served-model-name", help="Its name for clients.", envvar="TESSERA_SERVED_MODEL_NAME")
]
EngineArgs = Annotated[
    str | None, typer.Option(help="Arguments for vLLM, as for `vllm serve`.", envvar="TESSERA_ENGINE_ARGS")
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="`vllm`, or `simulated`: no model, made-up answers, for tests and load tests.", envvar="TESSERA_ENGINE"
    ),
]
Replicas = Annotated[int | None, typer.Option(help="Engines, each with a frontend.", envvar="TESSERA_REPLICAS")]
RayAddress = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join; without it a local one is started.", envvar="TESSERA_RAY_ADDRESS"),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show what the parts write instead of keeping it in files.")
]


@app.command()
def gateway(host: Host = None, port: Port = None, redis_url: RedisUrl = None) -> None:
    """Run a gateway: the HTTP side. Any number of them share one Redis."""
    from tessera.gateway.server import run_gateway
    from tessera.media import MediaStoreUnusable, SandboxIncomplete
    from tessera.tenants import KeysUnreadable

    settings = read_settings(host=host, port=port, redis_url=redis_url)
    require_redis(settings)
    try:
        run_gateway(settings)
    except (SandboxIncomplete, KeysUnreadable, MediaStoreUnusable) as error:
        raise refusal(str(error)) from None


@app.command()
def worker(
    model: Model = None,
    served_model_name: ModelName = None,
    engine_args: EngineArgs = None,
    redis_url: RedisUrl = None,
    ray_address: RayAddress = None,
    engine: Engine = None,
    replicas: Replicas = None,
) -> None:
    """Run a worker: vLLM under Ray Serve. Any number of them share one Redis."""
    settings = read_settings(
        engine=engine,
        replicas=replicas,
        model=model,
        served_model_name=served_model_name,
        engine_args=engine_args,
        redis_url=redis_url,
        ray_address=ray_address,
    )
    _require_model(settings)
    require_redis(settings)
    from tessera.worker.failure import DeploymentFailed

    try:
        _run_worker(settings)
    except DeploymentFailed as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    model: Model = None,
    served_model_name: ModelName = None,
    engine_args: EngineArgs = None,
    redis_url: RedisUrl = None,
    verbose: Verbose = False,
) -> None:
    """Run everything on this machine, in the foreground: Redis (unless one is configured), a worker and a gateway."""
    from tessera.local.up import run_up

    settings = _local_settings(host, port, model, served_model_name, engine_args, redis_url)
    _run(run_up(settings, verbose=verbose))


@app.command()
def demo(
    model: Model = None, engine_args: EngineArgs = None, redis_url: RedisUrl = None, verbose: Verbose = False
) -> None:
    """Start everything, ask about an image, a clip and a sound in one message, print the answer, stop."""
    from tessera.local.demo import run_demo

    settings = _local_settings("127.0.0.1", None, model, None, engine_args, redis_url)
    if "port" not in settings.model_fields_set:
        settings = settings.model_copy(update={"port": 0})
    if not _run(run_demo(settings, verbose=verbose)):
        raise typer.Exit(130)


@app.command()
def estimate(
    files: Annotated[list[Path], typer.Argument(help="Images, videos and sounds.", exists=True, dir_okay=False)],
    model: Annotated[str | None, typer.Option(help="Name of the model; without it, the one that is served.")] = None,
    detail: Annotated[str | None, typer.Option(help="`low`, `high` or `auto`, for all of them.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Most tokens of images and videos together.")] = None,
    preview: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of what the model gets, with tiles.", file_okay=False),
    ] = None,
    url: Annotated[str, typer.Option(help="Address of a gateway.")] = "http://127.0.0.1:8000",
    api_key: Annotated[str, typer.Option(help="Key for it.", envvar="TESSERA_API_KEY", show_envvar=True)] = "",
) -> None:
    """Tell what files would be to a model, in tokens, and draw what it would get to see of them."""
    from tessera.estimate import EstimateFailed, Server, run_estimate

    try:
        run_estimate(Server(url, api_key), files, model=model, detail=detail, budget=budget, folder=preview)
    except EstimateFailed as error:
        raise refusal(str(error), code=1) from None


@app.command()
def drain() -> None:
    """Have the workers of this machine or pod end their jobs and take no more: before it is stopped."""
    from tessera.worker.presence import Presence

    settings = read_settings()
    if settings.worker_folder is None:
        raise refusal("TESSERA_WORKER_FOLDER is not set: workers are told there.")
    if not Presence(settings.worker_folder).drain(settings.drain_timeout_s + DRAIN_MARGIN_S):
        raise refusal("Some workers still have jobs; others will go on with them.", code=1)


@app.command()
def openapi() -> None:
    """Print the OpenAPI description of the gateway (openapi.yaml)."""
    from tessera.gateway.description import openapi_yaml

    typer.echo(openapi_yaml(), nl=False)


@app.command()
def settings() -> None:
    """List every setting: its environment variable, its default, what it means."""
    for name, field in Settings.model_fields.items():
        typer.echo(f"TESSERA_{name.upper()}={field.default}\n    {field.description}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point."""
    app()


def _run_worker(settings: Settings) -> None:
    if settings.engine == SIMULATED:
        from tessera.worker.simulated import run_simulated

        run_simulated(settings)
    else:
        from tessera.worker.cluster import run_worker

        run_worker(settings)


def _local_settings(
    host: str | None, port: int | None, model: str | None, name: str | None, engine_args: str | None, redis: str | None
) -> Settings:
    flags = {"host": host, "port": port, "model": model, "served_model_name": name}
    parsed = read_settings(**flags, engine_args=engine_args, redis_url=redis)
    if "host" not in parsed.model_fields_set:
        # Only this machine's programs, unless somebody asks for more.
        parsed = parsed.model_copy(update={"host": "127.0.0.1"})
    _require_model(parsed)
    return parsed


def _require_model(settings: Settings) -> None:
    if settings.engine == SIMULATED:
        return
    if find_spec("vllm") is None or find_spec("ray") is None:
        raise refusal("A worker needs vLLM and Ray: install the extra `cpu` or `gpu`.")
    from tessera.worker.checkpoint import verify

    try:
        verify(settings.resolved_model())
    except ValueError as error:
        raise refusal(str(error)) from None


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    from tessera.local.stack import StartFailed

    try:
        return asyncio.run(work)
    except (StartFailed, RuntimeError) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None
