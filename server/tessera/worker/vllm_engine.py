"""One vLLM engine and its application: started, described, watched and stopped."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from tessera.errors import TesseraError
from tessera.media import MOST_FRAMES, MediaSpec
from tessera.prompt import PromptFiles
from tessera.queue import ModelCard
from tessera.settings import VLLM, Settings
from tessera.worker import bridge, checkpoint, connector, core_failure, speech, validation
from tessera.worker.adapters import AdapterHost
from tessera.worker.counted_items import CountedItems
from tessera.worker.prompt_files import announce_prompts
from tessera.worker.recorder import Recorder
from tessera.worker.response_media import restore_media
from tessera.worker.scored_media import ScoredMedia
from tessera.worker.speech_chat import SpeechChats
from tessera.worker.steps import StepCodec
from tessera.worker.transcript import Codec
from tessera.worker.vllm_adapters import adapters_of

log = structlog.get_logger()

# What vLLM reserves for the KV cache on CPU where nothing is said; its own default is most of the memory.
CPU_KV_CACHE_GIB = "1"


class VllmEngine:
    """vLLM for one model. To be started and used in one event loop."""

    def __init__(self, settings: Settings, reader: connector.MediaReader):
        self._settings = settings
        self._reader = reader
        self._stack = AsyncExitStack()
        self._client: Any = None
        self.app: Any = None
        self.card: ModelCard
        self.fingerprint: str | None = None
        self.codec: Codec | None = None
        self.prompts = b""
        self.adapters: AdapterHost | None = None

    async def start(self) -> None:
        """Load the model; seconds to minutes.

        Raises:
            ValueError: the model or ``TESSERA_ENGINE_ARGS`` cannot be used, with vLLM's reason.
            RuntimeError: the engine did not start, with its own: the model does not fit, for instance.
        """
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_KV_CACHE_GIB)
        os.environ["VLLM_MEDIA_CONNECTOR"] = connector.NAME
        connector.install_connector(self._reader, allow_urls=self._settings.engine_port > 0)
        model, name = self._settings.resolved_model(), self._settings.resolved_model_name()
        checkpoint.verify(model)
        embedded = not self._settings.model
        args = bridge.parse_engine_args(model, name, self._settings.resolved_engine_args(), small=embedded)
        any_media_options = bridge.trust_gateways(args)
        if self._settings.otlp_endpoint:
            bridge.trace_requests(args, self._settings.otlp_endpoint)
        started = time.monotonic()
        with core_failure.explained():
            self._client, self.app = await self._stack.enter_async_context(bridge.open_application(args))
        bridge.change_messages_of_responses(restore_media)
        self.codec = _record(self._client)
        bridge.answer_errors(self.app, TesseraError, _answer_error)
        for kind in (RequestValidationError, ValidationError):
            bridge.answer_errors(self.app, kind, validation.answer)
        self.fingerprint = bridge.system_fingerprint(self.app)
        tasks = bridge.tasks(self.app, self._client.model_config, await self._client.get_supported_tasks())
        card, app = self._with_speech(self._describe(name, model, any_media_options, tasks))
        self.adapters = adapters_of(self._client, self.app)
        if self.adapters is not None:
            card = replace(card, most_rank=self.adapters.most_rank)
        self.prompts = announce_prompts(self.app, card.limits)
        self.card = replace(card, prompts=PromptFiles.digest_of(self.prompts) if self.prompts else "")
        self.app = CountedItems(ScoredMedia(app, self._reader), self._client, self._reader)
        log.info("engine_ready", model=name, seconds=round(time.monotonic() - started, 1), limits=self.card.limits)

    @property
    def dead(self) -> bool:
        """The engine core died or cannot answer any more."""
        return self._client is None or bool(self._client.errored)

    async def stop(self) -> None:
        """End the engine's processes."""
        self._client = None
        await self._stack.aclose()

    def _with_speech(self, card: ModelCard) -> tuple[ModelCard, ASGIApp]:
        """The card and the application with ``/v1/audio/…``, where the model transcribes or may be asked to."""
        if speech.TASK not in card.tasks:
            if not (self._settings.transcribe_by_chat and "generate" in card.tasks and card.limits.get("audio")):
                return card, self.app
            return replace(card, tasks=[*card.tasks, speech.TASK]), SpeechChats(self.app)
        rate_hz, from_files = MediaSpec.from_json(card.media).audio_sample_rate_hz, self._settings.engine_port > 0
        found = speech.read_references(self.app, self._reader, rate_hz=rate_hz, allow_files=from_files)
        if found is None:
            return replace(card, tasks=[task for task in card.tasks if task != speech.TASK]), self.app
        return replace(card, speech=found), speech.SpeechForms(self.app)

    def _describe(self, name: str, model: str, any_media_options: bool, tasks: list[str]) -> ModelCard:
        config = self._client.vllm_config
        limits = bridge.modality_limits(config.model_config)
        most = config.scheduler_config.max_num_seqs
        if (slots := bridge.state_slots(config)) is not None:
            most = min(most, slots)
        wanted = self._settings.max_running_jobs
        return ModelCard(
            model=name,
            root=Path(model).name if Path(model).exists() else model,
            max_model_len=config.model_config.max_model_len,
            limits=limits,
            media=_media_spec(config.model_config).to_json() if limits else {},
            sequences=min(most, wanted) if wanted else most,
            created=int(time.time()),
            any_media_options=any_media_options,
            engine=VLLM,
            plan=bridge.plan(config.model_config) if limits else {},
            tasks=tasks,
        )


def _media_spec(model_config: Any) -> MediaSpec:
    spec = MediaSpec()
    configured = bridge.video_options(model_config)
    rule = bridge.video_loader(model_config)
    # The rules that sample at a fixed rate ignore `num_frames` in vLLM; theirs is the longest video they were made for.
    most = configured.get("num_frames", spec.video_max_frames) if rule in (None, "opencv") else MOST_FRAMES
    return MediaSpec(
        audio_sample_rate_hz=bridge.audio_sample_rate_hz(model_config) or spec.audio_sample_rate_hz,
        video_max_frames=most,
        video_fps=configured.get("fps"),
        video_sampling=rule,
        image_resize=bridge.image_resize(model_config),
    )


def _record(client: Any) -> StepCodec | None:
    try:
        codec = StepCodec()
        Recorder(client)
    except (AttributeError, ImportError) as error:
        log.warning("streams_cannot_be_resumed", reason=f"this vLLM is built otherwise: {error}")
        return None
    return codec


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TesseraError)
    return JSONResponse(error.body(), error.status, error.headers())
