"""``/v1/realtime``: OpenAI's and vLLM's way to send sound while it is recorded, which this server does not have."""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter

from tessera.errors import UnsupportedEndpoint
from tessera.gateway.schema import described

router = APIRouter(tags=["Generation"])


@router.get(
    "/v1/realtime",
    status_code=400,
    response_model=None,
    responses={400: described("It is not served, to any model.")},
)
async def refuse_realtime() -> NoReturn:
    """Refused: there are no WebSockets here. Send recordings to `/v1/audio/transcriptions`."""
    raise UnsupportedEndpoint(
        "/v1/realtime is not served here: this server has no WebSockets. Send recordings to /v1/audio/transcriptions, "
        "with `stream` to read the transcript as it is made."
    )
