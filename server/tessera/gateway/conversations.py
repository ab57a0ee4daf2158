"""``/v1/conversations``: items in their order, which responses go on from and are added to."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from tessera.errors import (
    ConversationItemMissing,
    ConversationMissing,
    InvalidRequest,
    MissingField,
    RequestTooLarge,
    TesseraError,
)
from tessera.gateway.body import Document
from tessera.gateway.item_page import MOST_LISTED, USUALLY_LISTED, ItemPage, Wanted
from tessera.gateway.metadata import METADATA, read_metadata
from tessera.gateway.object_body import read_document
from tessera.gateway.response_input import read_input
from tessera.gateway.response_object import now_s, prefix_of
from tessera.gateway.schema import ERRORS, described
from tessera.gateway.services import Services
from tessera.responses import Conversation, ConversationGone, ConversationTooLarge, Item, new_conversation_id

router = APIRouter(tags=["Responses"])

# As OpenAI's API has it.
_MOST_ITEMS = 20
_ITEMS = {"type": "array", "maxItems": _MOST_ITEMS, "items": {"type": "object"}}
_CREATED = {
    "type": "object",
    "properties": {"metadata": METADATA, "items": {"anyOf": [_ITEMS, {"type": "null"}]}},
    "example": {"metadata": {"topic": "demo"}, "items": [{"type": "message", "role": "user", "content": "Hello!"}]},
}
_CHANGED = {
    "type": "object",
    "required": ["metadata"],
    "properties": {"metadata": METADATA},
    "example": {"metadata": {"topic": "demo"}},
}
_ADDED = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {**_ITEMS, "minItems": 1}},
    "example": {"items": [{"type": "message", "role": "user", "content": "Hello!"}]},
}
_OBJECT = {"description": "The item.", "content": {"application/json": {"schema": {"type": "object"}}}}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: described("No conversation of this id is kept, or no longer, or it has no such item."),
    503: ERRORS[503],
}
_REFUSED: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (400, 413, 415)}


class ConversationObject(BaseModel):
    """A conversation."""

    id: str
    object: str = "conversation"
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(BaseModel):
    """A conversation that was deleted."""

    id: str
    object: str = "conversation.deleted"
    deleted: bool = True


def _body(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


@router.post("/v1/conversations", responses={**_REFUSED, 503: ERRORS[503]}, openapi_extra=_body(_CREATED))
async def create_conversation(request: Request) -> ConversationObject:
    """Begin a conversation, empty or with items."""
    services: Services = request.app.state.services
    document = await _read(request, services)
    metadata = read_metadata(document.value.get("metadata")) or {}
    items = [] if document.value.get("items") is None else await _items(document, services)
    made = Conversation(new_conversation_id(), now_s(), metadata)
    await services.conversations.shelf.put(request.state.tenant, made, new=True)
    if items:
        await _append(services, request.state.tenant, made.id, items)
    return _shown(made)


@router.get("/v1/conversations/{conversation_id}", responses=_MISSING)
async def retrieve_conversation(request: Request, conversation_id: str) -> ConversationObject:
    """A conversation, without its items."""
    return _shown(await request.app.state.services.conversations.find(request.state.tenant, conversation_id))


@router.post("/v1/conversations/{conversation_id}", responses={**_REFUSED, **_MISSING}, openapi_extra=_body(_CHANGED))
async def update_conversation(request: Request, conversation_id: str) -> ConversationObject:
    """Change the metadata of a conversation."""
    services: Services = request.app.state.services
    tenant: str = request.state.tenant
    metadata = read_metadata((await _read(request, services)).value.get("metadata"))
    if metadata is None:
        raise MissingField("`metadata` is required.", param="metadata")
    changed = replace(await services.conversations.find(tenant, conversation_id), metadata=metadata)
    try:
        await services.conversations.shelf.put(tenant, changed, new=False)
    except ConversationGone as error:
        raise _gone() from error
    return _shown(changed)


@router.delete("/v1/conversations/{conversation_id}", responses=_MISSING)
async def delete_conversation(request: Request, conversation_id: str) -> DeletedConversation:
    """Forget a conversation and its items. Its responses stay."""
    services: Services = request.app.state.services
    await services.conversations.find(request.state.tenant, conversation_id)
    await services.conversations.shelf.remove(request.state.tenant, conversation_id)
    return DeletedConversation(id=conversation_id)


@router.post(
    "/v1/conversations/{conversation_id}/items", responses={**_REFUSED, **_MISSING}, openapi_extra=_body(_ADDED)
)
async def add_items(request: Request, conversation_id: str) -> ItemPage:
    """Add items behind all others."""
    services: Services = request.app.state.services
    await services.conversations.find(request.state.tenant, conversation_id)
    document = await _read(request, services)
    if document.value.get("items") in (None, []):
        raise MissingField("`items` is required.", param="items")
    items = await _items(document, services)
    added = await _append(services, request.state.tenant, conversation_id, items)
    return ItemPage.of(added, Wanted(_MOST_ITEMS, backwards=False, after=""))


@router.get("/v1/conversations/{conversation_id}/items", responses={400: ERRORS[400], **_MISSING})
async def list_items(
    request: Request,
    conversation_id: str,
    limit: Annotated[str, Query(description=f"Most items, from 1 to {MOST_LISTED}.")] = str(USUALLY_LISTED),
    order: Annotated[str, Query(description="`asc` or `desc`, as they were said.")] = "desc",
    after: Annotated[str, Query(description="The id of an item, behind which they begin.")] = "",
) -> ItemPage:
    """What was said in a conversation, the last item first."""
    wanted = Wanted.read(limit, order, after)
    found = await request.app.state.services.conversations.find(request.state.tenant, conversation_id)
    return ItemPage.of([_shown_item(item.id, item.said) for item in found.items], wanted)


@router.get(
    "/v1/conversations/{conversation_id}/items/{item_id}",
    responses={200: _OBJECT, **_MISSING},
    response_class=JSONResponse,
)
async def retrieve_item(request: Request, conversation_id: str, item_id: str) -> Response:
    """One item of a conversation."""
    _, item = await _find_item(request, conversation_id, item_id)
    return JSONResponse(_shown_item(item.id, item.said))


@router.delete("/v1/conversations/{conversation_id}/items/{item_id}", responses=_MISSING)
async def delete_item(request: Request, conversation_id: str, item_id: str) -> ConversationObject:
    """Forget one item of a conversation."""
    services: Services = request.app.state.services
    conversation, item = await _find_item(request, conversation_id, item_id)
    await services.conversations.shelf.drop(request.state.tenant, conversation.id, item.place)
    return _shown(conversation)


async def _read(request: Request, services: Services) -> Document:
    most_bytes = min(services.settings.max_body_bytes, services.settings.responses_max_bytes)
    return await read_document(request, services, most_bytes=most_bytes)


async def _items(document: Document, services: Services) -> list[dict[str, Any]]:
    """The items that were sent, checked as the input of a response is."""
    given = document.value["items"]
    if not isinstance(given, list) or len(given) > _MOST_ITEMS:
        raise InvalidRequest(f"`items` must be an array of at most {_MOST_ITEMS} items.", param="items")
    text = document.text_of(given)
    read = await Document.read(bytearray(b'{"input":%b}' % text), services.settings.max_body_values)
    try:
        await read.run(read_input)
    except TesseraError as error:
        error.message = error.message.replace("input[", "items[")
        error.param = error.param and error.param.replace("input[", "items[", 1)
        raise
    items: list[dict[str, Any]] = orjson.loads(text)
    return items


async def _append(
    services: Services, tenant: str, conversation_id: str, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Add items under ids of their own, and return them as they are shown."""
    named = [(f"{prefix_of(item)}{secrets.token_hex(16)}", _without_id(item)) for item in items]
    try:
        await services.conversations.shelf.append(tenant, conversation_id, named)
    except ConversationGone as error:
        raise _gone() from error
    except ConversationTooLarge as error:
        most = services.settings.responses_max_bytes
        raise RequestTooLarge(
            f"A conversation has at most {most:,} bytes. Send media as `file_id`s, or begin another one.", param="items"
        ) from error
    return [_shown_item(*each) for each in named]


def _without_id(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


async def _find_item(request: Request, conversation_id: str, item_id: str) -> tuple[Conversation, Item]:
    services: Services = request.app.state.services
    conversation = await services.conversations.find(request.state.tenant, conversation_id)
    for item in conversation.items:
        if item.id == item_id:
            return conversation, item
    raise ConversationItemMissing("The conversation has no item of this id.", param="item_id")


def _shown(conversation: Conversation) -> ConversationObject:
    return ConversationObject(id=conversation.id, created_at=conversation.created_at, metadata=conversation.metadata)


def _shown_item(item_id: str, said: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", **said, "id": item_id}


def _gone() -> ConversationMissing:
    return ConversationMissing("The conversation has just been deleted.", param="conversation_id")
