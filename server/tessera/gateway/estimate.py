"""``POST /v1/estimate``: what a request would be to its model, in tokens, without running it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from tessera.errors import Cancelled
from tessera.gateway import schema
from tessera.gateway.body import Document, Endpoint, Limits, Share, read_body, read_options
from tessera.gateway.content import check_media, find_media, prepare_media
from tessera.gateway.conversation import check_conversation
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.endpoints import CHAT, COMPLETION
from tessera.gateway.item_choices import Scale, least_tokens_of
from tessera.gateway.item_counts import Unanswered
from tessera.gateway.learnt_tokens import kind_of_item
from tessera.gateway.media_file import find_files
from tessera.gateway.media_options import MediaOptions, read_media_options
from tessera.gateway.media_part import MediaPart
from tessera.gateway.observation import observe
from tessera.gateway.planning import PlannedItem, family_of, times_s
from tessera.gateway.preview import draw_image, draw_video
from tessera.gateway.price import Price, price_of
from tessera.gateway.services import Services
from tessera.gateway.text_count import TextCount, count_text
from tessera.gateway.visual_budget import VisualLimits, read_limits
from tessera.media import MediaItem, Modality
from tessera.plan import ImagePlan, VideoPlan
from tessera.queue import ModelCard

router = APIRouter(tags=["Generation"])


class Pixels(BaseModel):
    """A size in pixels."""

    width: int
    height: int


class Tiles(BaseModel):
    """How an image is cut."""

    columns: int
    rows: int
    thumbnail: bool = Field(description="The whole image goes along as a tile of its own.")


class PartEstimate(BaseModel):
    """One part of the request's messages with media."""

    path: str = Field(description="Where it stands, as `messages[0].content[2]`.")
    modality: str
    digest: str = Field(description="Of its decoded content: equal pixels and samples have the same.")
    size: Pixels | None = Field(description="Of an image or of a video's frames, as the engine would get them.")
    duration_s: float | None = Field(description="Of a video or a sound.")
    planned_size: Pixels | None = Field(description="As the model's processor would resize it, all tiles together.")
    tiles: Tiles | None = None
    times_s: list[float] | None = Field(None, description="When each frame that is sent of a video is shown.")
    frames: int | None = Field(None, description="Frames that the model's encoder gets.")
    tokens: int | None = Field(
        description="In the prompt in its place, a video's sound included; null: only the model's processor knows."
    )
    exact: bool = Field(description="They are as many as the engine will count.")
    least_tokens: int | None = Field(
        None, description="As few as `max_visual_tokens` could make it; null: that cannot be told."
    )
    reason: str | None = Field(None, description="Why they are not known.")
    preview: str | None = Field(
        None,
        description="With `preview=true`: an image with its tiles, or frames of a video, drawn: the data URL of a PNG.",
    )


class TextEstimate(BaseModel):
    """Everything but the media."""

    tokens: int
    exact: bool = Field(description="False: guessed from its length.")
    at_most: int = Field(description="It is no more than this, where it is guessed.")
    reason: str | None = Field(None, description="Why it was not counted with the model's tokenizer.")


class Estimate(BaseModel):
    """What a request would be to its model."""

    object: str = "estimate"
    model: str
    planned_as: str | None = Field(
        description="The family by whose rules media is counted, as `GET /v1/models` has it."
    )
    exact: bool = Field(description="`prompt_tokens` is what `usage` would say.")
    prompt_tokens: int = Field(description="Text and media together, of what is known.")
    media_tokens: dict[str, int] = Field(description="By modality; the sound of a video counts to it.")
    text: TextEstimate
    parts: list[PartEstimate]
    max_model_len: int
    max_tokens: int = Field(description="Room for the answer that the request asks for; 1 where it does not say.")
    fits: bool | None = Field(description="Prompt and answer fit the model's context; null: that cannot be told.")
    fitting_budget: int | None = Field(
        None, description="Where they do not fit: the `visual_token_budget` with which they would; null: there is none."
    )
    price: Price | None = Field(None, description="By the operator's price list; null: there is none for this model.")


Preview = Annotated[bool, Query(description="Draw what the model gets of images and videos.")]


@router.post("/v1/estimate", responses=schema.ERRORS, openapi_extra=schema.estimate)
async def estimate(request: Request, preview: Preview = False) -> Estimate:
    """Tell what a request would be to its model, part by part, in tokens: nothing is queued.

    Takes the body of `POST /v1/chat/completions` or of `POST /v1/completions`. Media is fetched and decoded for it.
    """
    services: Services = request.app.state.services
    with observe("/v1/estimate", request.state.tenant) as seen, services.bodies.enter() as share:
        document = await _read(request, services, share)
        async with cancel_on_disconnect(request.receive):
            endpoint = CHAT if "messages" in document.value else COMPLETION
            limits = Limits.of(services.settings)
            options = await document.run(lambda read: read_options(read, endpoint, limits))
            card = services.catalogue.require(options.model).card
            seen.model = card.model
            return await _estimate(document, endpoint, card, services, seen.tenant, preview=preview)


async def _read(request: Request, services: Services, share: Share) -> Document:
    settings = services.settings
    try:
        raw = await read_body(request, share, most_bytes=settings.max_body_bytes, limit_s=settings.body_timeout_s)
    except ClientDisconnect as error:
        raise Cancelled("The client closed the connection before its request was complete.") from error
    return await Document.read(raw, settings.max_body_values)


async def _estimate(
    document: Document, endpoint: Endpoint, card: ModelCard, services: Services, tenant: str, *, preview: bool
) -> Estimate:
    further_roles = services.settings.further_roles()
    await document.run(lambda read: check_conversation(read, endpoint, further_roles))
    asked = await document.run(lambda read: find_media(read, endpoint))
    parts = await find_files(asked, card, services.files, tenant)
    options = read_media_options(document, card, {p.modality for p in parts})
    check_media(parts, card, endpoint, sound_of_videos=options.sound_of_videos)
    limits = read_limits(document.value, parts, card, options, services.settings.visual_defaults_of(card.model))
    text = await count_text(document, card, parts, services.counters)
    limits = await limits.weighed(card, services.counters)
    weigh = await Scale.of(card, services.counters)
    async with services.stage.hold() as holder:
        items, options = await prepare_media(document, parts, options, limits, services.stage, holder)
        planned = await asyncio.gather(*(_planned(card, item, options, services, tenant) for item in items))
        estimated = [_part(*each) for each in zip(parts, items, planned, strict=True)]
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
    answer = body.get("max_completion_tokens") or body.get("max_tokens") or 1
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
