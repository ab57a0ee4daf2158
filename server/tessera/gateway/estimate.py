"""``POST /v1/estimate``: what a request would be to its model, in tokens, without running it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect

from tessera.errors import Cancelled, TesseraError
from tessera.gateway import schema
from tessera.gateway.body import Document, Endpoint, Limits, Share, read_body, read_options
from tessera.gateway.content import check_media, find_media, prepare_media
from tessera.gateway.conversation import check_conversation
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.document_parts import expand_documents
from tessera.gateway.endpoints import CHAT, COMPLETION, MESSAGES, RESPONSES
from tessera.gateway.estimate_object import Estimate, PartEstimate, Pixels, TextEstimate, Tiles
from tessera.gateway.item_choices import Scale, least_tokens_of
from tessera.gateway.item_counts import Unanswered
from tessera.gateway.learnt_tokens import kind_of_item
from tessera.gateway.media_file import find_files
from tessera.gateway.media_options import MediaOptions, read_media_options
from tessera.gateway.media_part import MediaPart
from tessera.gateway.observation import observe
from tessera.gateway.planning import PlannedItem, family_of, times_s
from tessera.gateway.preview import draw_image, draw_video
from tessera.gateway.price import price_of
from tessera.gateway.response_chain import Continued, continue_from, go_on_in, own_items
from tessera.gateway.response_wishes import read_wishes
from tessera.gateway.routing import find_target, key_of
from tessera.gateway.services import Services
from tessera.gateway.text_count import TextCount, count_text
from tessera.gateway.video_parts import expand_videos, modalities_of
from tessera.gateway.visual_budget import VisualLimits
from tessera.gateway.visual_wishes import read_limits
from tessera.media import MediaItem, Modality
from tessera.plan import ImagePlan, VideoPlan
from tessera.queue import ModelCard

router = APIRouter(tags=["Generation"])


Preview = Annotated[bool, Query(description="Draw what the model gets of images and videos.")]
Of = Annotated[
    Literal["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"] | None,
    Query(description="Whose body it is; usually what is in it tells."),
]
_ENDPOINTS = {endpoint.path: endpoint for endpoint in (CHAT, COMPLETION, RESPONSES, MESSAGES)}
# What of Anthropic's API no chat has.
_FIELDS_OF_MESSAGES = ("system", "stop_sequences", "thinking", "output_config")
_BLOCKS_OF_MESSAGES = ("image", "document", "tool_use", "tool_result", "redacted_thinking")


@router.post("/v1/estimate", responses=schema.ERRORS, openapi_extra=schema.estimate)
async def estimate(request: Request, preview: Preview = False, endpoint: Of = None) -> Estimate:
    """Tell what a request would be to its model, part by part, in tokens: nothing is queued.

    Takes the body of a chat, a completion, a response or of Anthropic's messages. Media is fetched and decoded for it.
    """
    services: Services = request.app.state.services
    with observe("/v1/estimate", request.state.tenant) as seen, services.bodies.enter() as share:
        document = await _read(request, services, share)
        async with cancel_on_disconnect(request.receive):
            asked = _ENDPOINTS[endpoint] if endpoint else _endpoint_of(document.value)
            limits = Limits.of(services.settings)
            options = await document.run(lambda read: read_options(read, asked, limits))
            previous = document.value.get("previous_response_id") if asked is RESPONSES else None
            target = await find_target(services, options.model, key_of(document), seen.tenant, previous or "")
            card = target.card
            seen.model = card.model
            continued = await _continued(document, asked, services, seen.tenant)
            try:
                found = await _estimate(continued.document, asked, card, services, seen.tenant, preview=preview)
            except TesseraError as error:
                continued.rename(error)
                raise
            for part in found.parts:
                part.path = continued.theirs(part.path)
            return found


def _endpoint_of(body: Mapping[str, Any]) -> Endpoint:
    """Whose body it is, from what is in it: texts alone are the same to chats and to Anthropic's messages."""
    messages, tools = body.get("messages"), body.get("tools")
    if messages is None:
        return RESPONSES if "input" in body else COMPLETION
    said = messages if isinstance(messages, list) else []
    contents = [each.get("content") for each in said if isinstance(each, dict)]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    theirs = any(isinstance(block, dict) and block.get("type") in _BLOCKS_OF_MESSAGES for block in blocks)
    called = isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)
    return MESSAGES if theirs or called or any(name in body for name in _FIELDS_OF_MESSAGES) else CHAT


async def _continued(document: Document, endpoint: Endpoint, services: Services, tenant: str) -> Continued:
    if endpoint is not RESPONSES:
        return Continued(document, 0)
    wishes, own = read_wishes(document.value), await document.run(own_items)
    if wishes.conversation:
        conversation = await services.conversations.find(tenant, wishes.conversation, param="conversation")
        return await go_on_in(conversation, document, own, endpoint, services)
    return await continue_from(wishes.previous, document, own, endpoint, services, tenant)


async def _read(request: Request, services: Services, share: Share) -> Document:
    settings = services.settings
    try:
        raw = await read_body(request, share, most_bytes=settings.max_body_bytes, limit_s=settings.body_timeout_s)
    except ClientDisconnect as error:
        raise Cancelled("The client closed the connection before its request was complete.") from error
    return await Document.read(raw, settings.max_body_values, media=True)


async def _estimate(
    document: Document, endpoint: Endpoint, card: ModelCard, services: Services, tenant: str, *, preview: bool
) -> Estimate:
    further_roles = services.settings.further_roles()
    await document.run(lambda read: check_conversation(read, endpoint, further_roles))
    asked = await document.run(lambda read: find_media(read, endpoint))
    parts = await find_files(asked, card, services.files, tenant)
    options = read_media_options(document, endpoint, card, modalities_of(parts, card, endpoint))
    asked_for, stage, most = document.value, services.stage, services.settings.max_body_values
    async with stage.hold() as holder:
        where = (card, options, stage, holder, most)
        document, media = await expand_documents(document, endpoint, parts, *where)
        document, media = await expand_videos(document, endpoint, media, *where)
        check_media(media, card, endpoint, sound_of_videos=options.sound_of_videos)
        usual = services.settings.visual_defaults_of(card.model)
        limits = read_limits(asked_for, endpoint, media, card, options, usual)
        text = await count_text(document, endpoint, card, media, services.counters)
        limits = await limits.weighed(card, services.counters)
        weigh = await Scale.of(card, services.counters)
        items, options = await prepare_media(document, media, options, limits, services.stage, holder)
        planned = await asyncio.gather(*(_planned(card, item, options, services, tenant) for item in items))
        estimated = [_part(*each) for each in zip(media, items, planned, strict=True)]
        await asyncio.to_thread(_tell_least, estimated, items, limits, weigh)
        if preview:
            for made, item, each in zip(estimated, items, planned, strict=True):
                made.preview = await _preview(item, each, services)
    found = _sum(document, card, estimated, text)
    if prices := services.settings.prices_of(card.model):
        currency = services.settings.price_currency
        found.price = price_of(prices, currency, found.text.tokens, found.media_tokens, found.max_tokens)
    return found


def _part(part: MediaPart, item: MediaItem, planned: PlannedItem) -> PartEstimate:
    shown = item.modality is not Modality.AUDIO
    made = PartEstimate(
        path=part.path,
        modality=item.modality.value,
        digest=item.digest,
        size=Pixels(width=item.shape[-2], height=item.shape[-3]) if shown else None,
        duration_s=item.metadata.get("duration"),
        planned_size=None,
        tokens=planned.tokens,
        exact=planned.exact,
        reason=planned.reason,
    )
    if item.modality is Modality.VIDEO:
        made.times_s = times_s(item)
    plan = planned.plan
    if isinstance(plan, ImagePlan | VideoPlan):
        made.planned_size = Pixels(width=plan.size.width, height=plan.size.height)
    if isinstance(plan, ImagePlan):
        made.tiles = Tiles(columns=plan.grid.columns, rows=plan.grid.rows, thumbnail=plan.thumbnail)
    if isinstance(plan, VideoPlan):
        made.frames = plan.frames
    return made


def _tell_least(parts: list[PartEstimate], items: list[MediaItem], limits: VisualLimits, weigh: Scale) -> None:
    for i, made in enumerate(parts):
        visual = items[i].modality is not Modality.AUDIO
        if visual and limits.family is not None and made.tokens is not None:
            made.least_tokens = least_tokens_of(limits.family, items[i], weigh, thin=limits.thin)


async def _preview(item: MediaItem, planned: PlannedItem, services: Services) -> str | None:
    """One at a time: each takes the memory of its item."""
    plan, tokens = planned.plan, planned.tokens
    if tokens is None or not isinstance(plan, ImagePlan | VideoPlan):
        return None
    async with services.stage.read(item) as payload:
        if isinstance(plan, ImagePlan):
            drawn = await asyncio.to_thread(draw_image, payload, plan, tokens)
        else:
            drawn = await asyncio.to_thread(draw_video, payload, plan, times_s(item), tokens)
    return f"data:image/png;base64,{base64.b64encode(drawn).decode()}"


async def _planned(
    card: ModelCard, item: MediaItem, options: MediaOptions, services: Services, tenant: str
) -> PlannedItem:
    """What an item is to the model; a worker is asked where nobody here knows."""
    planner = services.planner
    planned = planner.item(card, item, options, services.counters.loaded(card))
    if planned.exact or (family_of(card) is not None and planner.trusts(card.model)):
        return planned
    kind = kind_of_item(card, item, options)
    if kind is None or (options.sound_of_videos and item.modality is Modality.VIDEO):
        return planned
    try:
        tokens = await services.item_counts.ask(card, item, kind, options, tenant)
    except Unanswered as error:
        return replace(planned, reason=str(error))
    return replace(planned, tokens=tokens, exact=True, reason=None)


def _sum(document: Document, card: ModelCard, parts: list[PartEstimate], text: TextCount) -> Estimate:
    media: dict[str, int] = {}
    for part in parts:
        media[part.modality] = media.get(part.modality, 0) + (part.tokens or 0)
    prompt, known = text.tokens + sum(media.values()), all(part.tokens is not None for part in parts)
    exact = known and text.exact and all(part.exact for part in parts)
    body = document.value
    answer = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens") or 1
    family = family_of(card)
    # Of several prompts each has a context of its own.
    longest = text.longest + sum(media.values())
    fits = _fits(card.max_model_len, sum(media.values()), longest, answer, exact=exact)
    return Estimate(
        model=card.model,
        planned_as=family and family.name,
        exact=exact,
        prompt_tokens=prompt,
        media_tokens=media,
        text=TextEstimate(tokens=text.tokens, exact=text.exact, at_most=text.at_most, reason=text.reason),
        parts=parts,
        max_model_len=card.max_model_len,
        max_tokens=answer,
        fits=fits,
        fitting_budget=_fitting_budget(card.max_model_len - prompt - answer, parts) if fits is False else None,
    )


def _fitting_budget(room: int, parts: list[PartEstimate]) -> int | None:
    """What images and videos may be where all together is too much by ``-room`` tokens."""
    visual = [part for part in parts if part.modality != Modality.AUDIO]
    most = sum(part.tokens or 0 for part in visual) + room
    least = sum(part.least_tokens or part.tokens or 0 for part in visual)
    return most if visual and most >= least > 0 else None


def _fits(most: int, media: int, prompt: int, answer: int, *, exact: bool) -> bool | None:
    if exact:
        return prompt + answer <= most
    # What is known exceeds it already, whatever the rest is.
    return False if media + answer > most else None
