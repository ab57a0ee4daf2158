"""What a worker may run its jobs on: what all engines have in common, and the one that is asked for."""

from __future__ import annotations

from typing import Protocol

from starlette.types import ASGIApp

from tessera.queue import ModelCard
from tessera.settings import SIMULATED, Settings
from tessera.worker.adapters import AdapterHost
from tessera.worker.connector import MediaReader
from tessera.worker.transcript import Codec


class Engine(Protocol):
    """One model, ready to be asked. To be started and used in one event loop.

    Attributes:
        app: answers requests (ASGI); there once it is started, as all that follows.
        card: what the worker announces.
        fingerprint: its ``system_fingerprint``, where it has one.
        codec: how its steps are stored; None: its streams end with it.
        prompts: its tokenizer and chat templates, as announced; empty: they are not.
        adapters: what loads LoRA adapters into it; None: it takes none.
    """

    app: ASGIApp
    card: ModelCard
    fingerprint: str | None
    codec: Codec | None
    prompts: bytes
    adapters: AdapterHost | None

    async def start(self) -> None:
        """Get ready. Raises ``ValueError``: it cannot be used as configured."""
        ...

    @property
    def dead(self) -> bool:
        """It cannot answer any more."""
        ...

    async def stop(self) -> None:
        """End all that was started."""
        ...


def build_engine(settings: Settings, reader: MediaReader) -> Engine:
    """The engine of ``TESSERA_ENGINE``, to be started. Only vLLM's imports vLLM.

    Args:
        reader: has the media that requests refer to.
    """
    if settings.engine == SIMULATED:
        from tessera.worker.simulated import SimulatedEngine

        return SimulatedEngine(settings, reader)
    from tessera.worker.vllm_engine import VllmEngine

    return VllmEngine(settings, reader)
