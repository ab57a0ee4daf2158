"""What a client says in headers about its request, beside what is to be answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from starlette.datastructures import Headers

from tessera.errors import InvalidRequest

ON_DISCONNECT = "X-Tessera-On-Disconnect"
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
    """

    lasting: bool


def read_directives(headers: Headers) -> Directives:
    """The directives of a request.

    Raises:
        InvalidRequest: naming the header.
    """
    return Directives(_on_disconnect(headers) is OnDisconnect.CONTINUE)


def _on_disconnect(headers: Headers) -> OnDisconnect:
    values = headers.getlist(ON_DISCONNECT)
    said = ", ".join(values) if values else OnDisconnect.CANCEL
    try:
        return OnDisconnect(said.strip().lower())
    except ValueError:
        raise InvalidRequest(
            f"`{ON_DISCONNECT}` must be `cancel` or `continue`; it is {said[:_SHOWN]!r}.", param=ON_DISCONNECT
        ) from None
