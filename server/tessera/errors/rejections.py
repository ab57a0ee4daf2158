"""Rejections: nothing was queued, and the request can be sent again as it is, or corrected."""

from __future__ import annotations

from tessera.errors.base import TesseraError


class InvalidRequest(TesseraError):
    """A field is missing or has a value that can never work."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class InvalidJSON(InvalidRequest):
    """The body is not a JSON object."""

    code = "invalid_json"


class UnsupportedMediaType(InvalidRequest):
    """The body is not sent as JSON."""

    status = 415
    code = "unsupported_media_type"


class UnsupportedContentEncoding(InvalidRequest):
    """The body is compressed in a way that the server does not undo."""

    status = 415
    code = "unsupported_content_encoding"


class DamagedContentEncoding(InvalidRequest):
    """The body is not compressed in the way that it says, or damaged."""

    code = "damaged_content_encoding"


class RequestTooComplex(InvalidRequest):
    """The body has more values than ``TESSERA_MAX_BODY_VALUES``."""

    code = "request_too_complex"


class MissingField(InvalidRequest):
    """A required field is missing."""

    code = "missing_required_parameter"


class InvalidHTTP(InvalidRequest):
    """Bytes that are no HTTP request."""

    code = "invalid_http"


class HeadTooLarge(InvalidRequest):
    """A request's line and headers are above ``TESSERA_MAX_HEAD_BYTES`` or ``TESSERA_MAX_HEADERS``."""

    status = 431
    code = "request_head_too_large"


class RequestTimeout(InvalidRequest):
    """A request that did not arrive in time (``TESSERA_HEAD_TIMEOUT_S``, ``TESSERA_BODY_GAP_TIMEOUT_S``)."""

    status = 408
    code = "request_timeout"


class RequestTooLarge(InvalidRequest):
    """The body is larger than ``TESSERA_MAX_BODY_BYTES``."""

    status = 413
    code = "request_too_large"


class ContextLengthExceeded(InvalidRequest):
    """The prompt, or the prompt with the answer that was asked for, is longer than the model's context."""

    code = "context_length_exceeded"


class InvalidAPIKey(InvalidRequest):
    """The request has no API key, or none that is valid."""

    status = 401
    code = "invalid_api_key"

    def headers(self) -> dict[str, str]:
        """As ever, and how a key is sent."""
        return {**super().headers(), "WWW-Authenticate": "Bearer"}


class AdministrationOff(InvalidRequest):
    """The server has no key for its administration, so nobody gets in."""

    status = 403
    code = "administration_off"


class RouteNotFound(InvalidRequest):
    """No such path."""

    status = 404
    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class RequestNotFound(InvalidRequest):
    """No request of that id is known, or no longer."""

    status = 404
    code = "request_not_found"


class ResponseNotFound(InvalidRequest):
    """No response of that id is kept."""

    status = 404
    code = "response_not_found"


class PreviousResponseNotFound(InvalidRequest):
    """The response that is to be continued, or one before it, is not kept."""

    code = "previous_response_not_found"


class RequestCancelled(InvalidRequest):
    """The request was cancelled by ``DELETE /v1/requests/{id}``, or because the client that sent it has left."""

    status = 409
    code = "request_cancelled"

    def headers(self) -> dict[str, str]:
        """As ever; OpenAI's clients, which send again what got a 409, are told that nobody wants that."""
        return {**super().headers(), "x-should-retry": "false"}


class IdempotencyKeyReused(InvalidRequest):
    """Another request was sent with the same ``Idempotency-Key``."""

    status = 422
    code = "idempotency_key_reused"


class ReplyDropped(InvalidRequest):
    """What is asked for of a request's answer is no longer kept, or never was."""

    status = 410
    code = "reply_dropped"


class ModelNotFound(InvalidRequest):
    """No worker serves, or has lately served, a model of that name."""

    status = 404
    code = "model_not_found"


class UnsupportedEndpoint(InvalidRequest):
    """The model cannot answer what is asked of it at this endpoint."""

    code = "unsupported_endpoint"


class Overloaded(TesseraError):
    """The server has no room for this request now."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class QueueBytesFull(Overloaded):
    """Bodies of requests take all the room (``TESSERA_MAX_QUEUED_BYTES``, ``TESSERA_MAX_QUEUED_BYTES_IN_ALL``)."""

    code = "queue_bytes_full"


class Unavailable(TesseraError):
    """A part that the request needs is not there now; the same request may succeed later."""

    status = 503
    type = "service_unavailable_error"
    code = "unavailable"


class TooManyConnections(Unavailable):
    """All of ``TESSERA_MAX_CONNECTIONS`` are in use."""

    code = "too_many_connections"


class BodyMemoryFull(Unavailable):
    """Bodies that arrive or are prepared take all of ``TESSERA_MAX_BODY_BYTES_IN_MEMORY``."""

    code = "body_memory_full"


class NoWorker(Unavailable):
    """No worker serves the model now."""

    code = "no_worker"


class QueueUnavailable(Unavailable):
    """Redis cannot be reached."""

    code = "queue_unavailable"


class EngineBusy(Unavailable):
    """vLLM takes no more requests now (limits of its own that ``TESSERA_ENGINE_ARGS`` sets)."""

    code = "engine_busy"
