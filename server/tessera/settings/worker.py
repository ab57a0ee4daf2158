"""The engine, its model, and Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB

VLLM: Final = "vllm"
SIMULATED: Final = "simulated"


class WorkerSettings(BaseSettings):
    """What is served, and how."""

    model: str = Field("", description="Path or hub name of the model; empty: the embedded model.")
    served_model_name: str = Field("", description="Name that clients use; empty: the last part of TESSERA_MODEL.")
    engine: Literal["vllm", "simulated"] = Field(
        VLLM, description="What answers: vLLM, or a simulation without a model, for tests and load tests only."
    )
    engine_args: str = Field("", description="Arguments for vLLM, as for `vllm serve`.")
    ray_address: str = Field("", description="Ray cluster to join; empty: start a local one.")
    replicas: int = Field(1, ge=1, description="Worker replicas, one engine each.")
    gpus_per_replica: float = Field(0, ge=0, description="GPUs that Ray reserves for a replica.")
    gpus_across_nodes: bool = Field(
        False,
        description="The GPUs of a replica may be on several machines; TESSERA_ENGINE_ARGS then has to say "
        "`--distributed-executor-backend ray`.",
    )
    lease_s: float = Field(5.0, gt=0, description="A worker or gateway that is silent this long has lost its jobs.")
    max_attempts: int = Field(3, ge=1, description="Workers that may die under a job; the last of them runs it alone.")
    engine_port: int = Field(
        0, ge=0, le=65535, description="Also serve vLLM's own application on this loopback port; 0: do not."
    )
    worker_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Serve the worker's metrics, vLLM's own among them, on this port of all addresses, and announce it "
        "to gateways' `/sd/workers`; 0: do not.",
    )
    worker_metrics_address: str = Field(
        "", description="Address to announce with it; empty: the one that this machine has on its way to Redis."
    )
    media_cache_bytes: int = Field(
        256 * MIB, ge=0, description="Decoded media that a replica keeps in memory for requests that ask for it again."
    )
    worker_folder: Path | None = Field(
        None, description="Folder in which workers say that they serve, and look for what `tessera drain` tells them."
    )
    max_running_jobs: int = Field(0, ge=0, description="Jobs a replica runs at once; 0: as many as the engine can.")

    transcribe_by_chat: bool = Field(
        False,
        description="Have a model that hears and chats, and is no transcriber, answer /v1/audio/transcriptions and "
        "/v1/audio/translations too: it is asked by a prompt.",
    )

    def resolved_model(self) -> str:
        """Path or hub name of the model to load.

        Raises:
            ValueError: neither a model was named nor is the embedded one there, or a path leads nowhere.
        """
        if self.model.startswith(("/", ".", "~")) and not Path(self.model).expanduser().exists():
            raise ValueError(f"TESSERA_MODEL: there is no {self.model}.")
        if self.model:
            return str(Path(self.model).expanduser()) if self.model.startswith("~") else self.model
        if EMBEDDED_MODEL.is_dir():
            return str(EMBEDDED_MODEL)
        raise ValueError(f"TESSERA_MODEL is not set, and the embedded model is not at {EMBEDDED_MODEL}: set it.")

    def resolved_model_name(self) -> str:
        """Name under which clients ask for the model."""
        if self.served_model_name:
            return self.served_model_name
        if self.model:
            return self.model.rstrip("/").rsplit("/", 1)[-1]
        # Under a name of its own: by accident, no simulation takes requests that are meant for the embedded model.
        return SIMULATED if self.engine == SIMULATED else EMBEDDED_MODEL_NAME

    def resolved_engine_args(self) -> str:
        """Arguments for vLLM: those of the embedded model where it is served, then the user's."""
        return self.engine_args if self.model else f"{EMBEDDED_ENGINE_ARGS} {self.engine_args}"


EMBEDDED_MODEL_NAME = "tessera-nano"
EMBEDDED_MODEL = Path(__file__).resolve().parents[3] / "models" / "nano" / "checkpoint"
# In one process: for so small a model, vLLM's usual executor on CPU costs a second process that polls for work.
EMBEDDED_ENGINE_ARGS = (
    "--max-model-len 8192 --max-num-batched-tokens 8192 --max-num-seqs 256 "
    "--enable-auto-tool-choice --tool-call-parser hermes "
    # A small model under a grammar fills an answer with blanks where it may.
    """--structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}' """
    """--limit-mm-per-prompt '{"image": 8, "video": 2, "audio": 4}' """
    "--distributed-executor-backend vllm.v1.executor.uniproc_executor.UniProcExecutor"
)
