"""The HTTP side."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.lists import listed
from tessera.settings.units import KIB, MIB


class GatewaySettings(BaseSettings):
    """Where it listens, what it accepts, and how long requests may wait."""

    host: str = Field("0.0.0.0", description="Address that the gateway listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the gateway listens on.")
    max_body_bytes: int = Field(64 * MIB, gt=0, description="Largest request body.")
    max_body_values: int = Field(
        500_000,
        gt=0,
        description="Most values in a body above 256 KiB, where members of objects and containers count 5 times: "
        "reading 500,000 stops everything else for about 50 ms. Long strings do not count.",
    )
    max_sequences: int = Field(
        128,  # the most that OpenAI's API takes for `n`
        gt=0,
        description="Most sequences of one request: `n` times its prompts.",
    )
    max_inputs: int = Field(
        2048,  # the most that OpenAI's API takes
        gt=0,
        description="Most texts of one request that are embedded, classified or scored.",
    )
    max_queued_jobs: int = Field(4096, gt=0, description="Jobs waiting for one model above which 429 is answered.")
    queue_timeout_s: float = Field(300.0, gt=0, description="Longest wait of a job for a worker.")
    worker_grace_s: float = Field(180.0, ge=0, description="How long requests are queued for a model without workers.")
    reply_timeout_s: float = Field(300.0, gt=0, description="Longest silence of a running job before it is given up.")
    stream_heartbeat_s: float = Field(
        5.0,
        ge=0,
        description="Silence of a stream after which a comment goes out, so that proxies keep it open; 0: never.",
    )
    gzip_answers_bytes: int = Field(
        64 * KIB,
        ge=0,
        description="Size from which on an answer in one piece is compressed for clients that take gzip; 0: never.",
    )
    reply_ttl_s: int = Field(120, gt=0, description="How long a finished job's reply log is kept.")
    idempotency_ttl_s: int = Field(
        3600, gt=0, description="How long an `Idempotency-Key` is remembered; its answer as long as any, once it ended."
    )
    max_idempotency_keys: int = Field(
        100_000, gt=0, description="Most of them for a tenant and a model; the oldest are forgotten."
    )
    drain_timeout_s: float = Field(30.0, ge=0, description="Time for running requests to end at shutdown.")
    drain_notice_s: float = Field(
        3.0, ge=0, description="The first part of it, in which `/readyz` says 503 and new requests are still taken."
    )
    chat_roles: str = Field(
        "", description="Roles of messages that the models' chat templates know besides OpenAI's, separated by commas."
    )
    cors_allow_origins: str = Field(
        "", description="Origins of web pages that may use the API, separated by commas; `*`: all; empty: none."
    )

    def allowed_origins(self) -> list[str]:
        """The origins of ``TESSERA_CORS_ALLOW_ORIGINS``, one by one."""
        return listed(self.cors_allow_origins)

    def further_roles(self) -> list[str]:
        """The roles of ``TESSERA_CHAT_ROLES``, one by one."""
        return listed(self.chat_roles)
