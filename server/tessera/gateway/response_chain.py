"""A request to go on from an earlier response: what went before stands in front of its own items."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from tessera.errors import RequestTooLarge, TesseraError
from tessera.gateway.body import Document, Endpoint
from tessera.gateway.response_object import as_input
from tessera.gateway.services import Services
from tessera.responses import Conversation

_ITEM = re.compile(r"input\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Continued:
    """A request with all that went before it.

    Attributes:
        before: items in front of the client's own.
        param: the field that brought them.
    """

    document: Document
    before: int
    param: str = "previous_response_id"

    def theirs(self, text: str) -> str:
        """A text that names items, with the numbers that the client knows."""
        return _ITEM.sub(self._theirs, text) if self.before else text

    def rename(self, error: TesseraError) -> None:
        """Have an error name items as the client knows them."""
        if not self.before or error.param is None:
            return
        error.message = self.theirs(error.message)
        found = _ITEM.match(error.param)
        earlier = found is not None and int(found[1]) < self.before
        error.param = self.param if earlier else self.theirs(error.param)

    def _theirs(self, item: re.Match[str]) -> str:
        index = int(item[1]) - self.before
        return f"input[{index}]" if index >= 0 else f"earlier[{item[1]}]"


def own_items(document: Document) -> bytes:
    """The items that the client sent, as a JSON array; a string is a message of the user's."""
    given = document.value["input"]
    if isinstance(given, str):
        part = {"type": "input_text", "text": given}
        given = [{"type": "message", "role": "user", "content": [part]}]
    return document.text_of(given)


async def continue_from(
    previous: str, document: Document, own: bytes, endpoint: Endpoint, services: Services, tenant: str
) -> Continued:
    """The request that goes on from a response.

    Args:
        previous: its id; empty: it goes on from none.
        own: ``own_items``.

    Raises:
        PreviousResponseNotFound, RequestTooLarge, QueueUnavailable
    """
    if not previous:
        return Continued(document, 0)
    said: list[bytes] = []
    for response in await services.responses.chain(tenant, previous):
        said += response.input, orjson.dumps(as_input(response.output()))
    return await _behind(said, document, own, endpoint, services, "previous_response_id")


async def go_on_in(
    conversation: Conversation, document: Document, own: bytes, endpoint: Endpoint, services: Services
) -> Continued:
    """The request that goes on from a conversation; see ``continue_from``."""
    said = [orjson.dumps(as_input(item.said for item in conversation.items))]
    return await _behind(said, document, own, endpoint, services, "conversation")


async def _behind(
    said: list[bytes], document: Document, own: bytes, endpoint: Endpoint, services: Services, param: str
) -> Continued:
    document.put(("input",), b"[%b]" % b",".join(some for items in [*said, own] if (some := items[1:-1])))
    raw = bytearray(await document.run(Document.encode))
    settings = services.settings
    if len(raw) > settings.max_body_bytes:
        raise RequestTooLarge(
            f"With what went before it the request has more than {settings.max_body_bytes:,} bytes.",
            param=param,
        )
    read = await Document.read(raw, settings.max_body_values, endpoint.reads)
    return Continued(read, sum(len(orjson.loads(items)) for items in said), param)
