"""What all errors are, and the body that a client gets."""

from __future__ import annotations

from typing import Any, ClassVar


class TesseraError(Exception):
    """An error with an HTTP status and an OpenAI error body.

    Args:
        message: what is wrong and what to do about it; shown to the client.
        param: the field of the request that is wrong, as a path (``messages[0].content[2]``).
        retry_after_s: seconds after which the same request may succeed (``Retry-After``).
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: int | None = None):
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """The OpenAI error body."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Response headers that belong to this error."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


def unexpected() -> TesseraError:
    """What a client is told of an exception that nobody thought of; the log has it."""
    return TesseraError("The gateway failed on this request; its log says why.")
