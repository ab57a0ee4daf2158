"""``/v1/load_lora_adapter`` and ``/v1/unload_lora_adapter``, as vLLM spells them: of every worker, by the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from tessera.errors import (
    AdapterLoaded,
    AdapterMissing,
    AdaptersUnsupported,
    InvalidRequest,
    MissingField,
    ModelNotFound,
    NoWorker,
)
from tessera.gateway.adapter_rollout import AdapterRollout
from tessera.gateway.object_body import read_object
from tessera.gateway.schema import ERRORS, described
from tessera.gateway.services import Services
from tessera.queue import Adapter, ModelCard, reach

log = structlog.get_logger()

router = APIRouter(tags=["Administration"])

LOAD_PATH, UNLOAD_PATH = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
LONGEST_NAME, LONGEST_PATH = 256, 4096
_MOST_BODY_BYTES = 64 * 1024

_NAME = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "description": "The name that clients ask for."}
_PATH = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_PATH,
    "description": "Folder of PEFT's files, as every worker sees it, or the name of a repository at the model hub.",
}
_FLAG = {"type": ["boolean", "null"], "default": False}
_LOADED = {
    "type": "object",
    "required": ["lora_name", "lora_path"],
    "properties": {
        "lora_name": _NAME,
        "lora_path": _PATH,
        "load_inplace": {**_FLAG, "description": "It may take the place of the adapter that has this name."},
        "is_3d_lora_weight": {**_FLAG, "description": "The weights of its experts are one tensor a layer."},
        "base_model_name": {
            "type": ["string", "null"],
            "description": "The model that it is for; needed where several take adapters.",
        },
    },
    "example": {"lora_name": "support", "lora_path": "/adapters/support-3"},
}
_UNLOADED = {
    "type": "object",
    "required": ["lora_name"],
    "properties": {"lora_name": _NAME},
    "example": {"lora_name": "support"},
}
_SAID = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_FAILED: dict[int | str, dict[str, Any]] = {
    400: described("It cannot be done; `code` and the message, which may be vLLM's, say why."),
    403: described("The server has no key for its administration."),
    404: described("There is no such model, or no such adapter."),
    413: ERRORS[413],
    415: ERRORS[415],
    503: described("No worker serves the model, or some have not done it yet."),
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "All workers of the model have it.", **_SAID},
    429: described("There are as many adapters as there may be."),
    **_FAILED,
}
_GONE: dict[int | str, dict[str, Any]] = {200: {"description": "No worker has it any more.", **_SAID}, **_FAILED}


def _body(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(LOAD_PATH, responses=_RESPONSES, openapi_extra=_body(_LOADED), response_class=PlainTextResponse)
async def load_adapter(request: Request) -> PlainTextResponse:
    """Have every worker of a model load a LoRA adapter, those that start later too; it is a model of its own then."""
    services: Services = request.app.state.services
    given = await read_object(request, services, most_bytes=_MOST_BODY_BYTES)
    name, path = _text(given, "lora_name", LONGEST_NAME), _text(given, "lora_path", LONGEST_PATH)
    inplace, fused = _flag(given, "load_inplace"), _flag(given, "is_3d_lora_weight")
    await services.catalogue.refresh()
    services.catalogue.check_reachable()
    card = _base(services, given.get("base_model_name"), name)
    async with reach(services.settings):
        before = await services.adapters.find(name)
    _check_name(services, name, path, card, before, inplace=inplace)
    rollout = AdapterRollout(services)
    if before is not None and not inplace:
        await rollout.finish(before)  # the same, asked for again: some workers do not have it yet
    else:
        await rollout.load(Adapter(name, card.model, path, fused), before)
        log.info("adapter_recorded", adapter=name, model=card.model, path=path)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post(UNLOAD_PATH, responses=_GONE, openapi_extra=_body(_UNLOADED), response_class=PlainTextResponse)
async def unload_adapter(request: Request) -> PlainTextResponse:
    """Have every worker drop a LoRA adapter. Requests that run end with it."""
    services: Services = request.app.state.services
    name = _text(await read_object(request, services, most_bytes=_MOST_BODY_BYTES), "lora_name", LONGEST_NAME)
    async with reach(services.settings):
        before = await services.adapters.find(name)
    rollout = AdapterRollout(services)
    if before is not None:
        await rollout.unload(before)
        log.info("adapter_removed", adapter=name, model=before.model)
    elif versions := await rollout.versions(name):
        if not any(versions):
            raise _of_arguments(name)
        await rollout.leave(name)  # asked for again: some workers still have it
    else:
        raise AdapterMissing(f"The lora adapter '{name}' cannot be found.", param="lora_name")
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


def _text(given: Mapping[str, Any], field: str, longest: int) -> str:
    value = given.get(field)
    if value is None:
        raise MissingField(f"`{field}` is required.", param=field)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable() or value != value.strip():
        raise InvalidRequest(
            f"`{field}` must be a string of 1 to {longest} printable characters, without spaces around it.", param=field
        )
    return value


def _flag(given: Mapping[str, Any], field: str) -> bool:
    value = given.get(field)
    if not isinstance(value, bool | None):
        raise InvalidRequest(f"`{field}` must be true or false.", param=field)
    return bool(value)


def _base(services: Services, wanted: Any, name: str) -> ModelCard:
    """The model that an adapter is for."""
    if not isinstance(wanted, str | None):
        raise InvalidRequest("`base_model_name` must be the name of a model.", param="base_model_name")
    served = services.catalogue.served()
    if wanted:
        try:
            found = services.catalogue.target(wanted)
        except ModelNotFound as error:
            raise ModelNotFound(error.message, param="base_model_name") from error
        if found.adapter:
            raise InvalidRequest(f"`{wanted}` is an adapter itself.", param="base_model_name")
        if (alias := services.catalogue.alias(wanted)) is not None and len(alias.targets) > 1:
            several = ", ".join(f"`{name}`" for name in alias.targets)
            raise InvalidRequest(f"`{wanted}` is an alias of several: name one of {several}.", param="base_model_name")
        able = [found.served]
    else:
        able = [model for model in served if model.card.most_rank] or served
    if not able:
        raise NoWorker("No worker serves a model at the moment.", retry_after_s=10)
    if len(able) > 1:
        known = ", ".join(f"`{model.card.model}`" for model in able)
        raise MissingField(f"`base_model_name` is required, since there are several: {known}.", param="base_model_name")
    [base] = able
    if not base.card.most_rank:
        raise AdaptersUnsupported(
            f"The model `{base.card.model}` takes no adapters: its workers need `--enable-lora` in TESSERA_ENGINE_ARGS."
        )
    if not base.workers:
        raise NoWorker(f"No worker serves the model `{base.card.model}` at the moment.", retry_after_s=10)
    return base.card


def _check_name(
    services: Services, name: str, path: str, card: ModelCard, before: Adapter | None, *, inplace: bool
) -> None:
    """Check that the name is free, or may be given to something else."""
    if services.catalogue.is_model(name):
        raise InvalidRequest(f"The lora adapter '{name}' conflicts with a served base model.", param="lora_name")
    if before is None:
        if services.catalogue.alias(name) is not None:
            raise InvalidRequest(f"`{name}` is an alias of other models: remove that first.", param="lora_name")
        if any(state["version"] == "" for state in _states(services, name) if state):
            raise _of_arguments(name)
        return
    if before.model != card.model:
        raise InvalidRequest(
            f"`{name}` is an adapter of the model `{before.model}`: unload it first.", param="lora_name"
        )
    states = _states(services, name, of=before.model)
    complete = all(state.get("version") == before.version and "root" in state for state in states)
    if not inplace and (complete or before.path != path):
        raise AdapterLoaded(
            f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
            "'load_inplace' to True.",
            param="lora_name",
        )


def _states(services: Services, name: str, *, of: str = "") -> list[dict[str, str]]:
    """What live workers, of one model or all, say of an adapter; empty where they have not heard of it."""
    cards = [card for served in services.catalogue.known() for card in served.cards]
    return [card.adapters.get(name, {}) for card in cards if card.most_rank and of in ("", card.model)]


def _of_arguments(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{name}` is an adapter of its workers' own arguments (`--lora-modules`).", param="lora_name"
    )
