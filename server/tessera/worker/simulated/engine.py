"""The simulated engine: started, described, watched and stopped as vLLM's."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import structlog

from tessera.media import ImageResize, MediaSpec, Modality, digest_of
from tessera.queue import ModelCard
from tessera.settings import SIMULATED, Settings
from tessera.worker.adapters import AdapterHost
from tessera.worker.connector import MediaReader
from tessera.worker.simulated.application import Application
from tessera.worker.simulated.codec import SimulatedCodec
from tessera.worker.simulated.core import Core
from tessera.worker.simulated.prompt import Medium
from tessera.worker.transcript import Codec

log = structlog.get_logger()

# Tokens of media are counted as Qwen2.5-VL and Qwen2.5-Omni count them.
PATCH_PIXELS = 28
FRAMES_PER_TOKEN = 2
SAMPLES_PER_TOKEN = 640
LEAST_PIXELS, MOST_PIXELS = 56 * 56, 1280 * PATCH_PIXELS * PATCH_PIXELS
LIMITS = {"image": 8, "video": 2, "audio": 4}


class SimulatedEngine:
    """For one model, which there is not. To be started and used in one event loop; see ``worker.engines.Engine``."""

    def __init__(self, settings: Settings, reader: MediaReader):
        self._settings = settings
        self._reader = reader
        self._core = Core(settings)
        self._running: asyncio.Task[None] | None = None
        self.card = _card(settings)
        self.app: Any = Application(self._core, settings, self._read, self.card.max_model_len)
        self.fingerprint: str | None = None
        self.codec: Codec | None = SimulatedCodec()
        self.prompts = b""
        self.adapters: AdapterHost | None = None

    async def start(self) -> None:
        """Take ``TESSERA_SIMULATED_START_S``, then run."""
        await asyncio.sleep(self._settings.simulated_start_s)
        self._running = asyncio.create_task(self._core.run())
        log.warning(
            "simulated_engine_ready",
            model=self.card.model,
            note="TESSERA_ENGINE=simulated: there is no model, and all answers are made up",
        )

    @property
    def dead(self) -> bool:
        """It was not started, was stopped, or failed."""
        return self._running is None or self._running.done()

    async def stop(self) -> None:
        """Compute no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _read(self, url: str, modality: Modality) -> Medium:
        array, _ = await self._reader.read(url, modality)
        return Medium(digest_of(url) or url, _tokens(modality, array.shape))


def _card(settings: Settings) -> ModelCard:
    wanted, seats = settings.max_running_jobs, settings.simulated_seats
    room = settings.simulated_kv_blocks * settings.simulated_block_tokens - 1
    return ModelCard(
        model=settings.resolved_model_name(),
        root=SIMULATED,
        max_model_len=min(settings.simulated_max_model_len, room),
        limits=LIMITS,
        media=MediaSpec(image_resize=ImageResize(PATCH_PIXELS, LEAST_PIXELS, MOST_PIXELS)).to_json(),
        sequences=min(seats, wanted) if wanted else seats,
        created=int(time.time()),
        engine=SIMULATED,
    )


def _tokens(modality: Modality, shape: tuple[int, ...]) -> int:
    if modality is Modality.AUDIO:
        return math.ceil(shape[0] / SAMPLES_PER_TOKEN)
    frames = 1 if modality is Modality.IMAGE else math.ceil(shape[0] / FRAMES_PER_TOKEN)
    height, width = shape[-3:-1]
    return frames * math.ceil(height / PATCH_PIXELS) * math.ceil(width / PATCH_PIXELS)
