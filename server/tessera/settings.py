"""All settings, in one class: by environment variable (``TESSERA_…``), ``tessera.env`` file or command-line flag."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Defaults suit one machine; every field's unit is in its name."""

    model_config = SettingsConfigDict(env_prefix="TESSERA_", env_file="tessera.env", extra="ignore", frozen=True)

    # Redis, which gateways and workers share.
    redis_url: str = Field("", description="Redis 6.2 or newer; empty: `tessera up` starts an embedded one.")
    redis_prefix: str = Field("tessera", description="Prefix of every key, so that systems can share a Redis.")
    redis_timeout_s: float = Field(5.0, gt=0, description="Longest wait for one Redis command.")

    redis_outage_s: float = Field(10.0, gt=0, description="Running requests survive a Redis outage this long.")

    # Gateway.
    host: str = Field("0.0.0.0", description="Address that the gateway listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the gateway listens on.")
    max_body_bytes: int = Field(64 * MIB, gt=0, description="Largest request body.")
    max_queued_jobs: int = Field(4096, gt=0, description="Jobs waiting for one model above which 429 is answered.")
    queue_timeout_s: float = Field(300.0, gt=0, description="Longest wait of a job for a worker.")
    worker_grace_s: float = Field(180.0, ge=0, description="How long requests are queued for a model without workers.")
    reply_timeout_s: float = Field(300.0, gt=0, description="Longest silence of a running job before it is given up.")
    reply_ttl_s: int = Field(120, gt=0, description="How long a finished job's reply log is kept.")
    drain_timeout_s: float = Field(30.0, ge=0, description="Time for running requests to end at shutdown.")

    # Worker.
    model: str = Field("", description="Path or hub name of the model; empty: the embedded model.")
    served_model_name: str = Field("", description="Name that clients use; empty: the last part of TESSERA_MODEL.")
    engine_args: str = Field("", description="Arguments for vLLM, as for `vllm serve`.")
    ray_address: str = Field("", description="Ray cluster to join; empty: start a local one.")
    replicas: int = Field(1, ge=1, description="Worker replicas, one engine each.")
    gpus_per_replica: float = Field(0, ge=0, description="GPUs that Ray reserves for a replica.")
    lease_s: float = Field(10.0, gt=0, description="A worker that is silent this long has lost its jobs.")
    max_attempts: int = Field(3, ge=1, description="Deliveries of a job before it is given up.")
    engine_port: int = Field(
        0, ge=0, le=65535, description="Also serve vLLM's own application on this loopback port; 0: do not."
    )
    max_running_jobs: int = Field(0, ge=0, description="Jobs a replica runs at once; 0: as many as the engine can.")

    # Media.
    media_fetch_timeout_s: float = Field(10.0, gt=0, description="Longest download of one media URL.")
    media_max_bytes: int = Field(32 * MIB, gt=0, description="Largest encoded image, video or audio.")
    media_max_image_pixels: int = Field(40_000_000, gt=0, description="Largest image.")
    media_max_video_s: float = Field(3600.0, gt=0, description="Longest video.")
    media_max_frame_pixels: int = Field(602_112, gt=0, description="Video frames above this are scaled down to it.")
    media_max_audio_s: float = Field(3600.0, gt=0, description="Longest audio.")
    media_allow_private_networks: bool = Field(False, description="Fetch media URLs from non-public addresses.")
    media_threads: int = Field(0, ge=0, description="Decoding threads; 0: one for each core.")
    media_store_max_bytes: int = Field(1024 * MIB, gt=0, description="Room for decoded media in Redis.")
    media_store_ttl_s: int = Field(600, gt=0, description="How long decoded media is kept after its last use.")

    # Telemetry.
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level logged.")
    log_format: str = Field("auto", pattern="^(auto|json|console)$", description="auto: console on a terminal.")

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
        return self.model.rstrip("/").rsplit("/", 1)[-1] if self.model else EMBEDDED_MODEL_NAME

    def resolved_engine_args(self) -> str:
        """Arguments for vLLM: those of the embedded model where it is served, then the user's."""
        return self.engine_args if self.model else f"{EMBEDDED_ENGINE_ARGS} {self.engine_args}"


EMBEDDED_MODEL_NAME = "tessera-nano"
EMBEDDED_MODEL = Path(__file__).resolve().parents[2] / "models" / "nano" / "checkpoint"
# In one process: for so small a model, vLLM's usual executor on CPU costs a second process that polls for work.
EMBEDDED_ENGINE_ARGS = (
    "--max-model-len 8192 --max-num-batched-tokens 8192 --max-num-seqs 256 "
    "--enable-auto-tool-choice --tool-call-parser hermes "
    # A small model under a grammar fills an answer with blanks where it may.
    """--structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}' """
    """--limit-mm-per-prompt '{"image": 8, "video": 2, "audio": 4}' """
    "--distributed-executor-backend vllm.v1.executor.uniproc_executor.UniProcExecutor"
)
