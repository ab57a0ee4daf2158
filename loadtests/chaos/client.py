"""A client as clients should be: it asks again where it was refused, and goes on elsewhere when a gateway dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from loadtests.chaos.flight import Flight
from loadtests.chaos.part import Part
from loadtests.chaos.questions import Question
from loadtests.chaos.said import Said
from loadtests.chaos.tally import Tally

# An attempt that has neither an answer nor an error after that long is lost; the server's own limits are shorter.
PATIENCE_S = 240.0
# After that long, being told to come again is an answer.
PERSISTENCE_S = 240.0
RETRY_S = 0.25
# A connection that broke this long after its gateway was killed did so for that reason.
NOTICED_S = 5.0
REQUEST_ID, REPLAYED = "X-Tessera-Request-Id", "Idempotency-Replayed"
CONTINUE = {"X-Tessera-On-Disconnect": "continue"}
_RETRIED_STATUS = (429, 502, 503)
# A stream may be given up before its head; that is how the request ended, and not for want of room.
FINAL_CODES = ("worker_lost", "poison_request", "stream_not_resumed", "gateway_lost", "reply_lost", "queue_timeout")


class Lost(Exception):
    """No answer, and no error that says why."""


class Broken(Exception):
    """The connection broke, as it does when a gateway dies."""


@dataclass(slots=True)
class _Attempt:
    flight: Flight
    headers: dict[str, str]
    until_s: float
    said: Said
    job_id: str = ""
    last_event: str = ""
    ended: bool = False


class Client:
    """Asks questions of any of several gateways, and compares what it is told.

    Args:
        gateways: their addresses, and themselves.
        new: what it is told is put into.

    Attributes:
        flights: requests under way, by the id that they were sent with.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        gateways: Sequence[tuple[str, Part]],
        tally: Tally,
        chance: random.Random,
        new: Callable[[], Said] = Said,
    ):
        self._http = http
        self._gateways = gateways
        self._tally = tally
        self._chance = chance
        self._new = new
        self.flights: dict[str, Flight] = {}

    async def ask(self, question: Question, right: Said | None) -> Said | None:
        """Ask until there is an answer or an error that is final.

        Args:
            right: what is to be told; None: it is not known yet, and what comes is the right answer.
        """
        tally = self._tally
        tally.sent += 1
        try:
            attempt = await self._persist(question, right)
        except Lost as error:
            tally.lost += 1
            tally.note(f"lost, {question.kind}: {error}")
            return None
        said = attempt.said
        self._compare(question, said, right)
        if said.error:
            tally.failed[said.error] += 1
            return None
        if not said.complete:
            tally.lost += 1
            tally.note(f"lost, {question.kind}: the stream ended early and said nothing of it")
            return None
        tally.answered += 1
        tally.land(attempt.flight)
        return said

    async def _persist(self, question: Question, right: Said | None) -> _Attempt:
        flight, headers = Flight(), self._wishes()
        until_s = asyncio.get_running_loop().time() + PERSISTENCE_S
        while True:
            request_id = f"chaos-{self._chance.getrandbits(64):016x}"
            self.flights[request_id] = flight
            attempt = _Attempt(flight, {**headers, "X-Request-Id": request_id}, until_s, self._new())
            try:
                async with asyncio.timeout(PATIENCE_S):
                    if await self._send(question, attempt):
                        return attempt
            except TimeoutError:
                raise Lost(f"nothing came for {PATIENCE_S:g} s: {attempt.headers}") from None
            except Broken:
                if attempt.job_id and await self._pick_up(question, attempt):
                    self._tally.picked_up += 1
                    return attempt
                self._compare(question, attempt.said, right)
                self._tally.asked_again += 1
                flight.strikes.clear()
                flight.arrivals.clear()
            finally:
                del self.flights[request_id]

    def _wishes(self) -> dict[str, str]:
        """What is to become of a request without its client: it ends, it goes on, or it may be joined by its key."""
        wish = self._chance.randrange(3)
        key = {"Idempotency-Key": f"chaos-{self._chance.getrandbits(64):016x}"}
        return [{}, CONTINUE, key][wish]

    async def _send(self, question: Question, attempt: _Attempt) -> bool:
        """Returns whether it came to an end; it was refused otherwise."""
        number = self._chance.randrange(len(self._gateways))
        attempt.flight.gateway = number
        url, gateway = self._gateways[number]
        began_s = asyncio.get_running_loop().time()
        try:
            async with self._http.post(url + question.path, json=question.body, headers=attempt.headers) as response:
                if response.status != 200:
                    return await self._refused(response, attempt)
                if CONTINUE.items() <= attempt.headers.items():
                    attempt.job_id = response.headers.get(REQUEST_ID, "")
                self._tally.joined += REPLAYED in response.headers
                await self._read(question, response, attempt)
        except aiohttp.ClientConnectorError:
            self._tally.unreachable += 1
            await asyncio.sleep(RETRY_S)
            return False
        except (aiohttp.ClientError, ConnectionError) as error:
            self._explain(error, gateway, began_s)
            raise Broken from error
        return True

    def _explain(self, error: Exception, gateway: Part, began_s: float) -> None:
        # Where its gateway was killed, that is why; a client of one that was not has lost something.
        if gateway.struck_at < began_s - NOTICED_S:
            raise Lost(f"the connection broke, and its gateway was well: {error!r}") from error

    async def _refused(self, response: aiohttp.ClientResponse, attempt: _Attempt) -> bool:
        content = orjson.loads(await response.read())
        code = content["error"]["code"]
        over = asyncio.get_running_loop().time() > attempt.until_s
        if response.status in _RETRIED_STATUS and code not in FINAL_CODES and not over:
            self._tally.refused[code] += 1
            await asyncio.sleep(RETRY_S)
            return False
        attempt.said.take(content)
        return True

    async def _read(self, question: Question, response: aiohttp.ClientResponse, attempt: _Attempt) -> None:
        if not response.content_type.startswith("text/event-stream"):
            attempt.said.take(orjson.loads(await response.read()))
            return
        clock, said = asyncio.get_running_loop().time, attempt.said
        async for line in response.content:
            if line.startswith(b"id:"):
                attempt.last_event = line[3:].strip().decode()
            elif line.startswith(b"data: [DONE]"):
                attempt.ended = True
            elif line.startswith(b"data:"):
                attempt.flight.arrivals.append(clock())
                said.take(orjson.loads(line[5:]))
        if not attempt.ended:
            raise ConnectionError(f"the stream broke off: {question.kind}")

    async def _pick_up(self, question: Question, attempt: _Attempt) -> bool:
        """Go on with a stream through another gateway. Returns whether it came to an end."""
        while asyncio.get_running_loop().time() < attempt.until_s:
            number = self._chance.randrange(len(self._gateways))
            url, _ = self._gateways[number]
            attempt.flight.gateway = number
            headers = {"Last-Event-ID": attempt.last_event} if attempt.last_event else {}
            try:
                async with self._http.get(f"{url}/v1/requests/{attempt.job_id}/events", headers=headers) as response:
                    if response.status == 200:
                        await self._read(question, response, attempt)
                        return True
                    if response.status == 204:
                        return attempt.ended or attempt.said.complete
                    if response.status not in _RETRIED_STATUS:
                        self._tally.refused[orjson.loads(await response.read())["error"]["code"]] += 1
                        return False
            except (aiohttp.ClientError, ConnectionError):
                pass  # that one is dead as well: the next one
            await asyncio.sleep(RETRY_S)
        return False

    def _compare(self, question: Question, said: Said, right: Said | None) -> None:
        """What came, all of it or a part, against what was to come."""
        if right is None or said.agrees_with(right):
            return
        tally = self._tally
        missing, duplicated = said.missing(right), said.duplicated(right)
        tally.missing += missing
        tally.duplicated += duplicated
        tally.differing += 1
        tally.note(
            f"differs, {question.kind}: {missing} tokens missing, {duplicated} too many, usage {said.usage} instead "
            f"of {right.usage}, {len(said.identities)} ids and times, error {said.error!r}"
        )
