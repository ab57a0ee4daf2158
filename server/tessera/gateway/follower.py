"""The answer of a request that was sent before, again: what there is of it, and what is still to come."""

from __future__ import annotations

from typing import Any

from starlette.types import Scope, Send

from tessera.gateway.dialect import dialect_of
from tessera.gateway.direct import direct
from tessera.gateway.event_ids import BEGINNING, EventId, beyond_end
from tessera.gateway.observation import Observation, Retelling
from tessera.gateway.packing import takes_gzip
from tessera.gateway.pieces import Pieces
from tessera.gateway.playback import Playback
from tessera.gateway.services import Services
from tessera.gateway.wire import Wire
from tessera.queue import Head, Record, decode
from tessera.telemetry import metrics


async def follow(
    services: Services,
    record: Record,
    after: EventId,
    scope: Scope,
    send: Send,
    seen: Observation,
    *,
    pieces: Pieces | None = None,
) -> None:
    """Answer as the request's own endpoint did or would have, from behind an event on.

    The request itself goes on whatever becomes of this reader.

    Args:
        pieces: what a stream's bodies go through, in place of getting ids of events.

    Raises:
        ReplyDropped: the answer is no longer kept, or does not reach as far as the event.
        TesseraError: what the request failed with, where no part of its answer was to be sent.
    """
    settings = services.settings
    heartbeat_s = settings.stream_heartbeat_s if record.stream else 0
    packed_from = settings.gzip_answers_bytes if takes_gzip(scope) else 0
    with metrics.FOLLOWERS.track_inprogress(), services.hub.open(record, start=after.entry) as stream:
        await services.hub.follow(stream)
        if after != BEGINNING and stream.length <= after.entry:
            raise beyond_end()
        with Wire(send, direct(scope, send), heartbeat_s=heartbeat_s, packed_from=packed_from) as wire:
            how: dict[str, Any] = {"dialect": dialect_of(record.path), "pieces": pieces}
            playback = Playback(
                stream, wire, Retelling(seen), numbered=pieces is None, on_failure=lambda _: None, **how
            )
            if after != BEGINNING and stream.first is not None:
                head = decode(stream.first)
                playback.resume(head if isinstance(head, Head) else None, after)
            await playback.run()
