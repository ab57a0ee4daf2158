"""``/admin/v1/aliases``: what other names of models stand for, set while the server runs; all gateways follow."""

from __future__ import annotations

import time
from typing import Any, Literal

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from tessera.errors import AliasesQuotaExceeded, AliasMissing
from tessera.gateway.alias_check import MOST_TARGETS, MOST_WEIGHT, check_name, check_targets
from tessera.gateway.catalogue import Catalogue
from tessera.gateway.object_body import read_object
from tessera.gateway.schema import ERRORS, described
from tessera.gateway.services import Services
from tessera.queue import Alias, AliasesFull, reach

log = structlog.get_logger()

router = APIRouter(tags=["Administration"], prefix="/admin/v1/aliases")

_MOST_BODY_BYTES = 64 * 1024
_BODY = {
    "type": "object",
    "required": ["targets"],
    "properties": {
        "targets": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MOST_TARGETS,
            "additionalProperties": {"type": "integer", "minimum": 0, "maximum": MOST_WEIGHT},
            "description": "Models and adapters that are served, and their weights. One at least is above 0.",
        }
    },
    "example": {"targets": {"big-v1": 90, "big-v2": 10}},
}
_EXTRA = {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}}
_REFUSED: dict[int | str, dict[str, Any]] = {
    403: described("The server has no key for its administration."),
    503: ERRORS[503],
}
_MISSING: dict[int | str, dict[str, Any]] = {404: described("There is no such alias."), **_REFUSED}
_SET: dict[int | str, dict[str, Any]] = {
    400: described("It cannot be an alias of that; `param` names what is wrong."),
    404: described("A target is not served."),
    413: ERRORS[413],
    415: ERRORS[415],
    429: described("There are as many aliases as there may be."),
    **_REFUSED,
}


class AliasObject(BaseModel):
    """A name, and what it stands for."""

    id: str
    object: Literal["alias"] = "alias"
    targets: dict[str, int] = Field(description="Models and adapters, and their weights.")
    workers: dict[str, int] = Field(description="Live workers of each of them.")
    set_by: Literal["operator", "setting"] = Field(
        description="`operator`: while the server runs; `setting`: by `TESSERA_ALIASES` of this gateway."
    )
    changed_at: int | None = Field(description="Unix time in seconds at which it was set; null: by the settings.")
    shadows: bool = Field(description="A model or adapter has this name, too, and is asked by it only as a target.")

    @classmethod
    def of(cls, alias: Alias, catalogue: Catalogue) -> AliasObject:
        """As the operator sees it."""
        found = {name: catalogue.found(name) for name in alias.targets}
        return cls(
            id=alias.name,
            targets=alias.targets,
            workers={name: target.workers if target is not None else 0 for name, target in found.items()},
            set_by="operator" if alias.changed_s else "setting",
            changed_at=alias.changed_s or None,
            shadows=catalogue.found(alias.name) is not None,
        )


class AliasList(BaseModel):
    """All aliases."""

    object: Literal["list"] = "list"
    data: list[AliasObject]


class DeletedAlias(BaseModel):
    """An alias that was removed."""

    id: str
    object: Literal["alias"] = "alias"
    deleted: bool = True


@router.get("", responses=_REFUSED)
async def list_aliases(request: Request) -> AliasList:
    """All aliases, those of the settings as well."""
    catalogue = await _fresh(request.app.state.services)
    return AliasList(data=[AliasObject.of(alias, catalogue) for _, alias in sorted(catalogue.aliases().items())])


@router.get("/{alias:path}", responses=_MISSING)
async def retrieve_alias(request: Request, alias: str) -> AliasObject:
    """What a name stands for."""
    catalogue = await _fresh(request.app.state.services)
    if (found := catalogue.alias(alias)) is None:
        raise _missing(alias)
    return AliasObject.of(found, catalogue)


@router.put("/{alias:path}", responses=_SET, openapi_extra=_EXTRA)
async def set_alias(request: Request, alias: str) -> AliasObject:
    """Have a name stand for models or adapters, by their weights, whatever it stood for. What is queued stays there."""
    services: Services = request.app.state.services
    given = await read_object(request, services, most_bytes=_MOST_BODY_BYTES)
    check_name(alias)
    catalogue = await _fresh(services)
    made = Alias(alias, check_targets(catalogue, alias, given.get("targets")), int(time.time()))
    before = catalogue.alias(alias)
    most = services.settings.max_aliases
    try:
        async with reach(services.settings):
            await services.aliases.put(made, most=most)
    except AliasesFull as error:
        raise AliasesQuotaExceeded(
            f"There are as many aliases as there may be, {most} (TESSERA_MAX_ALIASES). Remove one first."
        ) from error
    log.info("alias_set", alias=alias, targets=made.targets, before=before and before.targets)
    return AliasObject.of(made, await _fresh(services))


@router.delete("/{alias:path}", responses=_MISSING)
async def remove_alias(request: Request, alias: str) -> DeletedAlias:
    """Forget an alias. What the settings say of its name counts again."""
    services: Services = request.app.state.services
    found = (await _fresh(services)).alias(alias)
    if found is None:
        raise _missing(alias)
    if not found.changed_s:
        raise AliasMissing(
            f"The alias `{alias}` is in TESSERA_ALIASES: change that, or set another one over it.", param="alias"
        )
    async with reach(services.settings):
        await services.aliases.remove(alias)
    log.info("alias_removed", alias=alias, targets=found.targets)
    await services.catalogue.refresh()
    return DeletedAlias(id=alias)


async def _fresh(services: Services) -> Catalogue:
    await services.catalogue.refresh()
    services.catalogue.check_reachable()
    return services.catalogue


def _missing(alias: str) -> AliasMissing:
    return AliasMissing(f"There is no alias `{alias}`. GET /admin/v1/aliases lists which there are.", param="alias")
