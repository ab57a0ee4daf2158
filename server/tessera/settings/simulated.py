"""The simulated engine (``TESSERA_ENGINE=simulated``): how large and how fast it is."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class SimulatedSettings(BaseSettings):
    """The defaults are about those of a model of 8 billion parameters on one GPU."""

    simulated_start_s: float = Field(0.0, ge=0, description="Simulated engine: time to start.")
    simulated_seats: int = Field(256, ge=1, description="Simulated engine: sequences that run at once.")
    simulated_decode_step_ms: float = Field(
        20.0, ge=0, description="Simulated engine: time of a step, in which each sequence that runs gets a token."
    )
    simulated_decode_sequence_us: float = Field(
        0.0, ge=0, description="Simulated engine: what each sequence adds to the time of a step."
    )
    simulated_prefill_tokens_per_s: float = Field(20_000.0, gt=0, description="Simulated engine: speed of prefill.")
    simulated_encode_tokens_per_s: float = Field(
        20_000.0, gt=0, description="Simulated engine: speed of the encoder, in tokens that it makes of media."
    )
    simulated_batch_tokens: int = Field(8192, ge=1, description="Simulated engine: most tokens computed in one step.")
    simulated_kv_blocks: int = Field(16_384, ge=1, description="Simulated engine: blocks of its KV cache.")
    simulated_block_tokens: int = Field(16, ge=1, description="Simulated engine: tokens in a KV-cache block.")
    simulated_prefix_caching: bool = Field(
        True, description="Simulated engine: whether prompts that begin alike share blocks, and find them again."
    )
    simulated_encoder_cache_tokens: int = Field(
        65_536, ge=0, description="Simulated engine: room for encoded media, in tokens."
    )
    simulated_max_model_len: int = Field(
        32_768, ge=2, description="Simulated engine: longest prompt and answer, in tokens; at most its KV cache."
    )
    simulated_answer_tokens: int = Field(
        128, ge=1, description="Simulated engine: tokens after which an answer ends by itself."
    )
