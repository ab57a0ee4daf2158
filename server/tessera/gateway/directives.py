"""What a client says in headers about its request, beside what is to be answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from starlette.datastructures import Headers

from tessera.errors import InvalidRequest

IDEMPOTENCY_KEY = "Idempotency-Key"
ON_DISCONNECT = "X-Tessera-On-Disconnect"
_LONGEST_KEY = 255
_SHOWN = 64


class OnDisconnect(StrEnum):
    """What becomes of a request whose client has gone."""

    CANCEL = "cancel"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Directives:
    """What a client says about its request.

    Attributes:
        lasting: the request goes on when its client, or its gateway, is gone.
        key: the request is to be run once, however often it is sent with this key; empty: there is none.
        batch_job: it is a line of a batch, whose job has this id; empty: it is none. No client can say so.
    """

    lasting: bool
    key: str
    batch_job: str = ""


def read_directives(headers: Headers) -> Directives:
    """The directives of a request.

    Raises:
        InvalidRequest: naming the header.
    """
    key = _key(headers)
    # A client with a key comes back for the answer.
    usual = OnDisconnect.CONTINUE if key else OnDisconnect.CANCEL
    return Directives(_on_disconnect(headers, usual) is OnDisconnect.CONTINUE, key)


def _key(headers: Headers) -> str:
    values = headers.getlist(IDEMPOTENCY_KEY)
    if not values:
        return ""
    if len(values) > 1 or not 0 < len(values[0]) <= _LONGEST_KEY or not all("!" <= c <= "~" for c in values[0]):
        raise InvalidRequest(
            f"`{IDEMPOTENCY_KEY}` must be one key of 1 to {_LONGEST_KEY} visible ASCII characters without spaces.",
            param=IDEMPOTENCY_KEY,
        )
    return values[0]


def _on_disconnect(headers: Headers, usual: OnDisconnect) -> OnDisconnect:
    values = headers.getlist(ON_DISCONNECT)
    said = ", ".join(values) if values else usual
    try:
        return OnDisconnect(said.strip().lower())
    except ValueError:
        raise InvalidRequest(
            f"`{ON_DISCONNECT}` must be `cancel` or `continue`; it is {said[:_SHOWN]!r}.", param=ON_DISCONNECT
        ) from None
