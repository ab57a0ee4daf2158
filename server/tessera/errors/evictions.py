"""What became of a request that was accepted and could not be completed, or that failed by itself."""

from __future__ import annotations

from tessera.errors.base import TesseraError


class Evicted(TesseraError):
    """An accepted request that the server gave up."""

    status = 503
    type = "service_unavailable_error"
    code = "evicted"


class QueueTimeout(Evicted):
    """The request waited longer than ``TESSERA_QUEUE_TIMEOUT_S`` for a worker."""

    code = "queue_timeout"


class WorkerLost(Evicted):
    """As many workers as ``TESSERA_MAX_ATTEMPTS`` died under the request, the last one while it ran others too."""

    code = "worker_lost"


class GatewayStopping(Evicted):
    """The gateway was told to stop, and the request did not end within ``TESSERA_DRAIN_TIMEOUT_S``."""

    code = "gateway_stopping"


class StreamNotResumed(Evicted):
    """The worker died in the middle of a stream, and another one could not go on behind its last token."""

    code = "stream_not_resumed"


class GatewayLost(Evicted):
    """The gateway that took the request was silent for longer than ``TESSERA_LEASE_S``; so it was taken for dead."""

    code = "gateway_lost"


class ReplyLost(Evicted):
    """The queue no longer knows the request: its record was deleted or expired."""

    code = "reply_lost"


# --- Failures of the request itself -------------------------------------------------------------------


class EngineFailed(TesseraError):
    """vLLM failed on the request."""

    code = "engine_error"


class PoisonRequest(TesseraError):
    """As many workers as ``TESSERA_MAX_ATTEMPTS`` died under the request, the last one while it ran nothing else."""

    code = "poison_request"

    def headers(self) -> dict[str, str]:
        """As ever; OpenAI's clients, which send again what got a 500, are told that it would end like this again."""
        return {**super().headers(), "x-should-retry": "false"}


class UnsupportedByEngine(TesseraError):
    """The request asks for what vLLM cannot do with this model."""

    status = 501
    type = "invalid_request_error"
    code = "unsupported_by_engine"


class Cancelled(TesseraError):
    """The client went away; nobody reads this, but logs and metrics do."""

    status = 499
    type = "invalid_request_error"
    code = "client_closed_request"


class ClientStalled(Cancelled):
    """The client took nothing of its answer for ``TESSERA_CLIENT_STALL_S``, and was cut off."""

    code = "client_stalled"
