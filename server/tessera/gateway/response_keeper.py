"""Responses that are kept: found by whatever gateway is asked, and seen to their end by whichever looks first.

A response's job writes its answer into a reply log, as any job does. When it has ended, its end is copied from there to
where responses are kept: by who asks for it, or by the gateway that looks next.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import structlog

from tessera.errors import (
    InvalidRequest,
    PreviousResponseNotFound,
    QueueUnavailable,
    ReplyDropped,
    ReplyLost,
    RequestCancelled,
    ResponseNotFound,
    TesseraError,
)
from tessera.gateway.conversation_turns import ConversationTurns
from tessera.gateway.failures import error_of
from tessera.gateway.response_object import failed, standing
from tessera.queue import Broker, Data, End, Failure, Place, Record, Records, decode
from tessera.responses import Shelf, StoredResponse, is_response_id
from tessera.settings import Settings
from tessera.telemetry import responses as metrics

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
# When what runs is looked at again; well within the time that its answer is kept.
LOOK_AGAIN_S = 5.0
# A job that nobody knows may still be on its way into the queue.
UNKNOWN_FOR_S = 10.0
_SHOWN = 300
_GONE = "The server has lost what came of this response. Send its request again."


class ResponseKeeper:
    """All that gateways do with responses. Methods raise ``QueueUnavailable`` where Redis cannot be reached."""

    def __init__(self, shelf: Shelf, turns: ConversationTurns, records: Records, broker: Broker, settings: Settings):
        self._shelf = shelf
        self._turns = turns
        self._records = records
        self._broker = broker
        self._settings = settings
        self._again_ms = int(min(LOOK_AGAIN_S, settings.reply_ttl_s / 4) * 1000)

    async def add(self, tenant: str, response: StoredResponse) -> None:
        """Keep a response whose job is about to be queued."""
        await self._shelf.add(tenant, response, look_at_ms=_now_ms() + self._again_ms)

    async def forget(self, tenant: str, stored: StoredResponse) -> None:
        """Nothing comes of it: its job was not queued, failed, or is of no interest any more."""
        # In this order: of a turn whose response is gone nobody can tell whether that is still on its way to the shelf.
        if stored.final is None:
            await self._turns.leave(tenant, stored)
        await self._shelf.remove(tenant, stored.id)

    async def look_at(self, tenant: str, response_id: str) -> bool:
        """Keep its end, if it has ended. Returns whether it is there."""
        stored = await self._shelf.find(tenant, response_id)
        if stored is not None:
            await self._settle(tenant, stored)
        return stored is not None

    async def find(self, tenant: str, response_id: str) -> tuple[StoredResponse, dict[str, Any]]:
        """A tenant's response, and the object that it is now.

        Raises:
            ResponseNotFound: it is not there, or somebody else's.
        """
        stored = await self._shelf.find(tenant, response_id) if is_response_id(response_id) else None
        settled = await self._settle(tenant, stored) if stored is not None else None
        if settled is None:
            raise ResponseNotFound(
                "There is no response of this id, or no longer. Those are kept that were not sent with `store: false`.",
                param="response_id",
            )
        return settled

    async def model_of(self, tenant: str, response_id: str) -> str:
        """The model or adapter that a response is of; empty: it is not there."""
        stored = await self._shelf.find(tenant, response_id) if is_response_id(response_id) else None
        return str(orjson.loads(stored.shape)["model"]) if stored is not None else ""

    async def chain(self, tenant: str, response_id: str) -> list[StoredResponse]:
        """A response that is to be continued, and those that went before it, the oldest first.

        Raises:
            PreviousResponseNotFound: one of them is not there.
            InvalidRequest: it has not ended well, or there are too many.
        """
        most, param = self._settings.responses_max_chain, "previous_response_id"
        found: list[StoredResponse] = []
        missing = response_id
        if is_response_id(response_id):
            found, missing = await self._shelf.chain(tenant, response_id, most=most)
        if len(found) > most:
            raise InvalidRequest(f"At most {most} responses may be continued, one after another.", param=param)
        if missing:
            which = f"{response_id[:_SHOWN]!r}" + (", or one that it continues," if found else "")
            raise PreviousResponseNotFound(
                f"Previous response with id {which} not found. Send the whole conversation as `input`.", param=param
            )
        if (newest := found[-1]).final is None and (settled := await self._settle(tenant, newest)) is not None:
            found[-1] = settled[0]
        if not all(response.usable for response in found):
            raise InvalidRequest("The previous response has not been completed: nothing can continue it.", param=param)
        return found

    async def cancel(self, tenant: str, response_id: str) -> dict[str, Any]:
        """Cancel a response that runs in the background; one that has ended stays as it is.

        Raises:
            ResponseNotFound
            InvalidRequest: a client waits for it, which is to leave.
        """
        stored, shown = await self.find(tenant, response_id)
        if not stored.background:
            raise InvalidRequest(
                "Only a response with `background: true` can be cancelled; of others the client closes the connection.",
                param="response_id",
            )
        if stored.final is not None:
            return shown
        await self._broker.cancel(stored.model, stored.job_id)
        return (await self.find(tenant, response_id))[1]

    async def delete(self, tenant: str, response_id: str) -> None:
        """Forget a response; where it still runs in the background, it is cancelled.

        Raises:
            ResponseNotFound
        """
        stored, _ = await self.find(tenant, response_id)
        if stored.final is None and stored.background:
            await self._broker.cancel(stored.model, stored.job_id)
        await self.forget(tenant, stored)

    async def record(self, stored: StoredResponse) -> Record:
        """The record of a response's job.

        Raises:
            ReplyDropped: it is no longer kept.
        """
        record = await self._records.find([stored.model], [stored.job_id])
        if record is None or (stored.final is not None and record.last is None):
            kept_s = self._settings.reply_ttl_s
            raise ReplyDropped(
                f"The events of a response are kept for {kept_s} s after its end. Ask for it without `stream`."
            )
        return record

    async def run(self) -> None:
        """See to it that what ends is kept, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except QueueUnavailable:
                continue  # the catalogue tells

    async def _look(self) -> None:
        while due := await self._shelf.due(_now_ms()):
            waiting = []
            for tenant, response_id in due:
                stored = await self._shelf.find(tenant, response_id)
                if stored is None:
                    await self._shelf.settled(tenant, response_id)
                    continue
                settled = await self._settle(tenant, stored)
                if settled is not None and settled[0].final is None:
                    waiting.append((tenant, response_id))
            await self._shelf.put_off(waiting, _now_ms() + self._again_ms)

    async def _settle(self, tenant: str, stored: StoredResponse) -> tuple[StoredResponse, dict[str, Any]] | None:
        """A response as it is now; None: it failed, and nobody but the client that heard of it has asked for it."""
        if stored.final is not None:
            return stored, orjson.loads(stored.final)
        record = await self._records.find([stored.model], [stored.job_id])
        if record is None and time.time() - orjson.loads(stored.shape)["created_at"] < UNKNOWN_FOR_S:
            return stored, standing(stored, "queued")
        if record is not None and record.state in ("queued", "leased"):
            return stored, standing(stored, "queued" if record.state == "queued" else "in_progress")
        final = await self._end_of(stored, record)
        if final["status"] in ("failed", "cancelled") and not stored.background:
            await self.forget(tenant, stored)
            return None
        ended = stored.ended(final)
        await (self._turns.add if ended.usable else self._turns.leave)(tenant, ended)
        await self._shelf.end(tenant, ended)
        metrics.ENDED.labels(final["status"]).inc()
        return ended, final

    async def _end_of(self, stored: StoredResponse, record: Record | None) -> dict[str, Any]:
        """What became of a response whose job has ended."""
        try:
            return await self._answer(stored, record)
        except RequestCancelled:
            return standing(stored, "cancelled")
        except TesseraError as error:
            if isinstance(error, QueueUnavailable):
                raise
            return failed(stored, error)
        except (KeyError, TypeError, ValueError):
            log.exception("response_unreadable", response=stored.id)
            return failed(stored, ReplyLost(_GONE))

    async def _answer(self, stored: StoredResponse, record: Record | None) -> dict[str, Any]:
        if record is None:
            raise ReplyLost(_GONE)
        if isinstance(record.last, Failure):
            raise error_of(record.last)
        if record.state == "cancelled":
            raise RequestCancelled("The response was cancelled.")
        [part] = await self._broker.read([Place(stored.model, stored.job_id)])
        entries = [decode(raw) for raw in part.entries]
        if not entries or not isinstance(entries[-1], End):
            raise ReplyLost(_GONE)
        body = b"".join(entry.body for entry in entries if isinstance(entry, Data))
        if stored.stream and body.startswith(b"event:"):
            content = orjson.loads(body.rstrip().rpartition(b"\ndata: ")[2])
            if "response" not in content:
                raise TesseraError(content["message"])
            return _whole(content["response"])
        content = orjson.loads(body)
        if "error" in content and "output" not in content:
            status = entries[-1].error[0] if entries[-1].error else 500
            raise (InvalidRequest if status < 500 else TesseraError)(content["error"]["message"])
        return _whole(content)


def _whole(response: dict[str, Any]) -> dict[str, Any]:
    """A response as an engine has written it. Raises ``KeyError`` where it is none."""
    return {**response, "status": response["status"], "output": response["output"]}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
