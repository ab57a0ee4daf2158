"""``GET /v1/models`` and ``GET /v1/models/{model}``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from tessera.gateway.catalogue import Catalogue, Target
from tessera.gateway.endpoints import endpoints_of
from tessera.gateway.planning import family_of
from tessera.gateway.schema import ERRORS
from tessera.queue import Alias
from tessera.settings import VLLM

router = APIRouter(tags=["Models"])


class Model(BaseModel):
    """A model that can be asked for."""

    id: str
    object: str = "model"
    created: int = Field(description="Unix time in seconds at which its worker started.")
    owned_by: str = "tessera"
    root: str = Field(description="Where its weights come from.")
    parent: str | None = Field(None, description="Of a LoRA adapter: the model that it belongs to.")
    alias_of: str | None = Field(
        None,
        description="The model or adapter that this is another name of; answers name that one. Null: of several, or "
        "this is no alias.",
    )
    targets: dict[str, int] | None = Field(
        None,
        description="Of an alias: the models and adapters that requests by it go to, and their weights. What is said "
        "of it holds for all of them; what cannot is said of the one with the most weight.",
    )
    max_model_len: int = Field(description="Longest prompt and answer together, in tokens.")
    modalities: list[str] = Field(description="What its messages may hold.")
    engine: str = Field(description="What runs it: `vllm`, or `simulated`, whose answers come from no model.")
    limits: dict[str, int] = Field(description="Most parts of each modality in one request.")
    planned_as: str | None = Field(
        description="The family by whose rules the tokens of its media are known before a request runs; null: only its "
        "own processor knows them."
    )
    media_counted_by: Literal["rules", "processor"] | None = Field(
        description="How the tokens of its media are known: by the rules of that family, or from its own processor, "
        "which a worker asks once for each size; null: it takes no media."
    )
    text_counted_by: Literal["tokenizer", "length"] = Field(
        description="How the tokens of text are known: with the model's own tokenizer and chat template, or guessed."
    )
    tasks: list[str] = Field(description="What it is for, in vLLM's words.")
    endpoints: list[str] = Field(description="Where it can be asked; elsewhere it is a 400 `unsupported_endpoint`.")
    workers: int = Field(description="Workers that serve it now; 0: they are expected back, and requests wait.")


class ModelList(BaseModel):
    """All models."""

    object: str = "list"
    data: list[Model]


@router.get("/v1/models", responses={503: ERRORS[503]})
async def list_models(request: Request) -> ModelList:
    """All models that can be asked for, with their modalities and limits."""
    catalogue: Catalogue = request.app.state.services.catalogue
    models = {served.card.model: _describe(Target.model(served)) for served in catalogue.served()}
    adapters = {name: _describe(target) for name, target in catalogue.adapters().items()}
    aliases = {name: _describe_alias(catalogue, catalogue.aliases()[name]) for name in catalogue.standing()}
    # An alias goes before what has the same name.
    return ModelList(data=[*(models | adapters | aliases).values()])


# Names may hold slashes, as those of the hubs do.
@router.get("/v1/models/{model:path}", responses={404: ERRORS[404], 503: ERRORS[503]})
async def retrieve_model(request: Request, model: str) -> Model:
    """One model, with its modalities and limits."""
    catalogue: Catalogue = request.app.state.services.catalogue
    target = catalogue.target(model)
    alias = catalogue.alias(model)
    return _describe(target) if alias is None else _describe_alias(catalogue, alias)


def _describe_alias(catalogue: Catalogue, alias: Alias) -> Model:
    found = catalogue.targets_of(alias)
    of_all = [_describe(target) for target in found.values()]
    heaviest = max(of_all, key=lambda model: alias.targets[model.id])
    limits = {
        modality: min(model.limits[modality] for model in of_all)
        for modality in heaviest.limits
        if all(modality in model.limits for model in of_all)
    }
    known = {
        "alias_of": heaviest.id if len(alias.targets) == 1 else None,
        "targets": alias.targets,
        "max_model_len": min(model.max_model_len for model in of_all),
        "limits": limits,
        "modalities": ["text", *limits],
        "tasks": [task for task in heaviest.tasks if all(task in model.tasks for model in of_all)],
        "endpoints": [path for path in heaviest.endpoints if all(path in model.endpoints for model in of_all)],
        # Adapters and their base have the same ones.
        "workers": _workers(found.values()),
    }
    return heaviest.model_copy(update={"id": alias.name, **known})


def _workers(targets: Iterable[Target]) -> int:
    most: dict[str, int] = {}
    for target in targets:
        most[target.card.model] = max(most.get(target.card.model, 0), target.workers)
    return sum(most.values())


def _describe(target: Target) -> Model:
    card = target.card
    known: dict[str, Any] = {"created": card.created, "root": target.root, "max_model_len": card.max_model_len}
    known["engine"] = card.engine or VLLM  # which all workers ran that did not say
    known |= {"tasks": card.tasks, "endpoints": [endpoint.path for endpoint in endpoints_of(card)]}
    modalities = ["text", *card.limits]
    family = family_of(card)
    known["planned_as"] = family and family.name
    known["media_counted_by"] = ("rules" if family else "processor") if card.limits else None
    known["text_counted_by"] = "tokenizer" if card.prompts else "length"
    if target.adapter:
        known["parent"] = card.model
    return Model(id=target.name, modalities=modalities, limits=card.limits, workers=target.workers, **known)
