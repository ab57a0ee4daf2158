"""One request of a batch on its way: as one over HTTP, but that it is run again where that may help."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Message

from tessera.batches import Batch
from tessera.errors import InvalidRequest, TesseraError
from tessera.gateway.batch_input import Line, parse
from tessera.gateway.body import Document, Endpoint, Limits, read_options
from tessera.gateway.directives import Directives
from tessera.gateway.endpoints import ENDPOINTS as TABLE
from tessera.gateway.observation import UNKNOWN, Observation, observe
from tessera.gateway.relay import Relay
from tessera.gateway.services import Services
from tessera.telemetry import batches as metrics

# OpenAI's, of those that are one job each.
_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
ENDPOINTS: dict[str, Endpoint] = {endpoint.path: endpoint for endpoint in TABLE if endpoint.path in _PATHS}
# Of what the queue says of a job that it gave up: it may have been the worker's fault, and not the request's.
_GIVEN_UP = frozenset(
    {
        "queue_timeout", "worker_lost", "gateway_lost", "reply_lost", "reply_dropped", "reply_expired",
        "stream_not_resumed", "request_cancelled",
    }
)  # fmt: skip
MOST_TRIES = 5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a request.

    Attributes:
        text: the line for the output, or for the errors, with its end.
    """

    ok: bool
    text: bytes


class BatchLine:
    """Answers one request of a batch.

    Attributes:
        job_id: of its job, while there is one; the same for whoever runs the batch, so that what an earlier runner
            began is gone on with.
    """

    def __init__(self, services: Services, batch: Batch, line: Line):
        self.job_id = ""
        self._services = services
        self._seen: Observation | None = None
        self._batch = batch
        self._line = line

    @property
    def model(self) -> str:
        """Its queue, as soon as that is known: that of the base of an adapter, and of what an alias stands for."""
        return self._seen.model if self._seen is not None and self._seen.model != UNKNOWN else ""

    async def run(self) -> Answer:
        """The answer, sooner or later."""
        request = parse(self._line.raw)
        given_up, pause_s = 0, FIRST_PAUSE_S
        body = request["body"]
        while True:
            self.job_id = f"{self._batch.id}-{self._line.number}-{given_up}"
            try:
                status, content = await self._ask(body)
            except TesseraError as error:
                if error.code in _GIVEN_UP:
                    given_up += 1
                    again = given_up < MOST_TRIES
                else:
                    again = error.status in (429, 503)
                if again:
                    metrics.repeated.labels(error.code).inc()
                    await asyncio.sleep(max(pause_s, min(error.retry_after_s or 0, LONGEST_PAUSE_S)))
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    continue
                status, content = error.status, orjson.dumps(error.body())
            return self._answer(request["custom_id"], status, content)

    async def _ask(self, body: dict[str, Any]) -> tuple[int, bytes]:
        services, endpoint = self._services, ENDPOINTS[self._batch.endpoint]
        if body.get("stream"):
            raise InvalidRequest("A batch has no streams: leave `stream` out.", param="stream")
        raw = bytearray(orjson.dumps(body))
        scope: dict[str, Any] = {
            "type": "http",
            "headers": [],
            "state": {"request_id": self._batch.id, "tenant": self._batch.tenant, "headers": []},
        }
        told = _Told()
        seen_by = observe("/v1/batches", self._batch.tenant, timed=False, prices=services.settings)
        with seen_by as seen, services.bodies.enter() as share:
            self._seen = seen
            await share.grow(len(raw))
            document = await Document.read(raw, services.settings.max_body_values, endpoint.reads)
            limits = Limits.of(services.settings)
            options = await document.run(lambda read: read_options(read, endpoint, limits))
            directives = Directives(lasting=True, key="", batch_job=self.job_id)
            relay = Relay(services, endpoint, document, options, directives, None, seen, share)
            del raw, document
            await relay(scope, _never, told.send)
        return told.status, bytes(told.body)

    def _answer(self, custom_id: str, status: int, content: bytes) -> Answer:
        try:
            body = orjson.Fragment(content) if orjson.loads(content) is not None else None
        except orjson.JSONDecodeError:
            body = None
        name = f"batch_req_{self._batch.id.removeprefix('batch_')}-{self._line.number}"
        response = {"status_code": status, "request_id": self.job_id, "body": body}
        told = {"id": name, "custom_id": custom_id, "response": response, "error": None}
        return Answer(status < 400, orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))


def expired(batch: Batch, line: Line) -> Answer:
    """What is said of a request that was not answered in time."""
    error = {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }
    name = f"batch_req_{batch.id.removeprefix('batch_')}-{line.number}"
    told = {"id": name, "custom_id": parse(line.raw)["custom_id"], "response": None, "error": error}
    return Answer(False, orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))


class _Told:
    """What is sent to a client that is none."""

    def __init__(self) -> None:
        self.status = 500
        self.body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")


async def _never() -> Message:
    """It does not leave."""
    await asyncio.Event().wait()
    raise AssertionError
