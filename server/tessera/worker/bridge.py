"""Everything that Tessera takes from vLLM, in one place, for the versions that it accepts (0.26 to 0.32)."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NoReturn

from tessera.media import ImageResize
from tessera.worker import processor, torch_compat
from tessera.worker.family import announce_family

# Where each name lives, newest vLLM first.
_HOMES = {
    "build_async_engine_client": ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server"),
    "build_app": ("vllm.entrypoints.launchers.app", "vllm.entrypoints.openai.api_server"),
    "init_app_state": ("vllm.entrypoints.launchers.api_server.app_state", "vllm.entrypoints.openai.api_server"),
    "make_arg_parser": ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args"),
    "validate_parsed_serve_args": ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args"),
    "MEDIA_CONNECTOR_REGISTRY": ("vllm.multimodal.media", "vllm.multimodal.media.connector"),
    "get_video_loader_backend_for_processor": ("vllm.multimodal.video",),
    "get_video_processor_cls_name": ("vllm.transformers_utils.processor",),
    "CachedRequestState": ("vllm.v1.worker.gpu_input_batch",),
    "EngineCoreOutput": ("vllm.v1.engine",),
    "IterationStats": ("vllm.v1.metrics.stats",),
    "EngineCoreProc": ("vllm.v1.engine.core",),
    "KVCacheConfig": ("vllm.v1.kv_cache_interface",),
    "MsgpackDecoder": ("vllm.v1.serial_utils",),
    "MsgpackEncoder": ("vllm.v1.serial_utils",),
    "Request": ("vllm.v1.request",),
    "StructuredOutputManager": ("vllm.v1.structured_output",),
    "LoRARequest": ("vllm.lora.request",),
    "MediaConnector": ("vllm.multimodal.media", "vllm.multimodal.media.connector"),
    "ChatParams": ("vllm.renderers.params", "vllm.renderers"),
    "ProcessorInputs": ("vllm.multimodal.processing",),
    "TimingContext": ("vllm.multimodal.processing.context", "vllm.multimodal.processing"),
    "split_audio": ("vllm.multimodal.audio",),
    "get_model_cls": ("vllm.model_executor.model_loader",),
    "resolve_chat_template": ("vllm.renderers.hf",),
    "resolve_chat_template_content_format": ("vllm.renderers.hf",),
}

_GENERATION_TASKS = ("generate", "transcription", "realtime")
# For what vLLM has no task: the route that its application has where it can.
_BY_ROUTE = {"score": "/score", "tokenize": "/tokenize", "chat_batch": "/v1/chat/completions/batch"}
# transformers' processors whose rule is `smart_resize`: also of Qwen2.5-VL, Qwen3-VL and the Omni models.
_SMART_RESIZE_PROCESSORS = ("Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast")
_BICUBIC = 3


def vllm_name(name: str) -> Any:
    """An object of vLLM's, wherever the installed version keeps it.

    Raises:
        ImportError: no accepted version of vLLM is installed.
    """
    torch_compat.activate()
    for home in _HOMES[name]:
        try:
            return getattr(import_module(home), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise ImportError(f"vLLM has no {name}: install a version that pyproject.toml accepts (extra `cpu` or `gpu`)")


def parse_engine_args(model: str, served_name: str, extra: str, *, small: bool = False) -> Namespace:
    """Arguments for vLLM's engine and application, as ``vllm serve`` would parse them.

    Args:
        extra: further arguments, which win over the defaults set here.
        small: weights of twice the size do no harm, if a CPU computes faster with them.

    Raises:
        ValueError: vLLM does not accept ``extra``; the message is vLLM's.
    """
    from vllm.platforms import current_platform
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments = ["--model", model, "--served-model-name", served_name, "--enable-prompt-tokens-details"]
    if current_platform.is_cpu():
        # Compiling costs minutes and wins little there, also that of single functions at their first use.
        arguments.append("--enforce-eager")
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
        if small and not processor.computes_in_bfloat16():
            arguments += ["--dtype", "float32"]

    class Parser(FlexibleArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ValueError(f"TESSERA_ENGINE_ARGS: {message}")

    parser: Any = Parser
    args: Namespace = vllm_name("make_arg_parser")(parser()).parse_args([*arguments, *shlex.split(extra)])
    vllm_name("validate_parsed_serve_args")(args)
    return args


def trace_requests(args: Namespace, endpoint: str) -> None:
    """Have vLLM send its spans to where this server's go, unless its arguments say otherwise.

    Args:
        endpoint: takes OTLP over HTTP; vLLM's own default is gRPC, on another port.
    """
    if not args.otlp_traces_endpoint:
        args.otlp_traces_endpoint = endpoint.rstrip("/") + "/v1/traces"
        os.environ.setdefault("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        os.environ.setdefault("OTEL_SERVICE_NAME", "tessera-engine")


def trust_gateways(args: Namespace) -> bool:
    """Have vLLM take the media options of requests: gateways let only those through that they know and have bounded.

    Returns:
        Whether the operator lets requests set any (``--trust-request-mm-kwargs``).
    """
    # Older versions take them all without being told.
    by_operator = bool(getattr(args, "trust_request_mm_kwargs", False))
    args.trust_request_mm_kwargs = True
    return by_operator


@asynccontextmanager
async def open_application(args: Namespace) -> AsyncIterator[tuple[Any, Any]]:
    """Start vLLM's engine and its OpenAI application.

    Yields:
        The engine client (vLLM's ``AsyncLLM``) and the application (ASGI), ready to be called.
    """
    async with vllm_name("build_async_engine_client")(args) as engine:
        tasks = await engine.get_supported_tasks()
        app = vllm_name("build_app")(args, tasks, engine.model_config)
        await vllm_name("init_app_state")(engine, app.state, args, tasks)
        # vLLM's error handlers ask the HTTP server to exit when the engine dies; here Ray Serve sees to that.
        app.state.server = SimpleNamespace(should_exit=False)
        async with app.router.lifespan_context(app):
            yield engine, app


def tasks(app: Any, model_config: Any, supported: Collection[str]) -> list[str]:
    """What the application can be asked for (``ModelCard.tasks``).

    Args:
        supported: vLLM's tasks, from the engine.
    """
    # Of several things that a model's pooler could do, vLLM serves one.
    choose = getattr(model_config, "get_pooling_task", None)
    pooling = choose(tuple(supported)) if choose is not None else None
    served = [task for task in supported if task in _GENERATION_TASKS or task == pooling or choose is None]
    paths = {route.path for route in app.routes if hasattr(route, "path")}
    served += [task for task, path in _BY_ROUTE.items() if path in paths]
    if getattr(model_config, "skip_tokenizer_init", False):
        served.remove("tokenize")
    return served


def change_messages_of_responses(change: Callable[[list[Any]], list[Any]]) -> None:
    """Have ``change`` see the messages of a chat that vLLM makes of the input of each response.

    To be called once there is an application: vLLM's modules cannot be imported in any order.
    """
    try:
        renderer: Any = import_module("vllm.renderers.online_renderer")
        construct = renderer.construct_input_messages
    except (ImportError, AttributeError):
        return  # older versions make them elsewhere, and say themselves what they do not take

    def changed(**given: Any) -> list[Any]:
        return change(construct(**given))

    renderer.construct_input_messages = changed


def answer_errors(app: Any, kind: type[Exception], handler: Any) -> None:
    """Have the application answer exceptions of a kind with ``handler``; to be called before its first request."""
    app.add_exception_handler(kind, handler)
    if app.middleware_stack is not None:  # vLLM 0.32 builds it early, with the handlers that it had then
        app.middleware_stack = app.build_middleware_stack()


def modality_limits(model_config: Any) -> dict[str, int]:
    """Modality to the most items that one request may hold, for the modalities that the model takes."""
    if not model_config.is_multimodal_model:
        return {}
    from vllm.multimodal import MULTIMODAL_REGISTRY

    limits = MULTIMODAL_REGISTRY.get_processing_info(model_config).allowed_mm_limits
    return {name: limits[name] for name in ("image", "video", "audio") if limits.get(name)}


def audio_sample_rate_hz(model_config: Any) -> int | None:
    """Rate at which the model takes audio, or None where it takes none or any."""
    from vllm.multimodal import MULTIMODAL_REGISTRY

    parser = MULTIMODAL_REGISTRY.get_processing_info(model_config).get_data_parser()
    rate = parser.audio_resampler.target_sr
    return None if rate is None else int(rate)


def video_options(model_config: Any) -> dict[str, Any]:
    """``num_frames`` and ``fps`` as configured for vLLM's video loader (``--media-io-kwargs``)."""
    configured = model_config.get_multimodal_config().media_io_kwargs or {}
    return dict(configured.get("video", {}))


def video_loader(model_config: Any) -> str | None:
    """Name of vLLM's video loader for the model, which is the rule by which it samples frames; None: the default."""
    try:
        loader, processor = (
            vllm_name("get_video_loader_backend_for_processor"),
            vllm_name("get_video_processor_cls_name"),
        )
    except ImportError:  # older versions have one loader for all models
        return None
    name: str | None = loader(processor(model_config))
    return name


def image_resize(model_config: Any) -> ImageResize | None:
    """How the model's image processor resizes, if it is one whose rule the gateway knows and nothing changes it."""
    from vllm.multimodal import MULTIMODAL_REGISTRY

    info = MULTIMODAL_REGISTRY.get_processing_info(model_config)
    if not hasattr(info, "get_image_processor") or model_config.get_multimodal_config().mm_processor_kwargs:
        return None
    images = info.get_image_processor()
    exact = type(images).__name__ in _SMART_RESIZE_PROCESSORS and images.do_resize and images.resample == _BICUBIC
    if not exact:
        return None
    size = images.size
    return ImageResize(images.patch_size * images.merge_size, size["shortest_edge"], size["longest_edge"])


def plan(model_config: Any) -> dict[str, Any]:
    """How the tokens of the model's media are counted (``plan.Family`` as a dictionary); empty where nobody knows."""
    from vllm.multimodal import MULTIMODAL_REGISTRY

    configured = model_config.get_multimodal_config()
    if getattr(configured, "video_pruning_rate", None):
        return {}  # of a video's tokens it keeps a share
    info = MULTIMODAL_REGISTRY.get_processing_info(model_config)
    return announce_family(model_config.hf_config, info.get_hf_processor, configured.mm_processor_kwargs)


def state_slots(vllm_config: Any) -> int | None:
    """Requests whose states the engine of a state-space model holds at once; None: it has a KV cache.

    A state is as large for a long text as for a short one, and takes a block of what vLLM has reserved; one more block
    is vLLM's own. So such an engine has room for a number of requests, of whatever length.
    """
    cache = vllm_config.cache_config
    kept_once = getattr(cache, "mamba_cache_mode", "none") == "none"  # prefix caching keeps states of earlier tokens
    if not vllm_config.model_config.is_attention_free or not kept_once or not cache.num_gpu_blocks:
        return None
    engines: int = getattr(vllm_config.parallel_config, "data_parallel_size", 1)
    speculated: int = getattr(vllm_config, "num_speculative_tokens", 0)
    return max(1, (int(cache.num_gpu_blocks) - engines) // (1 + speculated))


def system_fingerprint(app: Any) -> str | None:
    """What the application gives as ``system_fingerprint``; None where it gives none (older versions)."""
    serving = getattr(app.state, "openai_serving_chat", None) or getattr(app.state, "openai_serving_completion", None)
    fingerprint: str | None = getattr(serving, "system_fingerprint", None)
    return fingerprint
