"""Other names of models, which the operator has set."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tessera.settings import Settings
from tests.gateway.scripted import chat


@pytest.fixture
async def gateway(start_gateway, settings, worker):
    aliases = f"gpt-4o={worker.card.model}, org/small = {worker.card.model}, lost=nobody"
    return await start_gateway(settings.model_copy(update={"aliases": aliases}))


async def test_the_engine_is_asked_by_the_models_own_name(gateway, worker):
    async with worker.serving(worker.echo):
        answer = await gateway.post(chat("gpt-4o", n=2))
    assert answer.json["echo"] == chat(worker.card.model, n=2)
    labels = {"model": worker.card.model, "endpoint": "/v1/chat/completions", "status": "200"}
    assert await gateway.metric("tessera_requests_total", **labels) == 1


async def test_both_names_are_listed_and_one_that_means_nothing_is_not(gateway, worker):
    _, listed = await gateway.get("/v1/models")
    model = worker.card.model
    assert {m["id"]: m["alias_of"] for m in listed["data"]} == {model: None, "gpt-4o": model, "org/small": model}
    _, one = await gateway.get("/v1/models/org/small")
    assert (one["id"], one["alias_of"], one["workers"]) == ("org/small", model, 1)
    answer = await gateway.post(chat("lost"))
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "`gpt-4o`" in answer.error["message"]


async def test_an_estimate_is_of_the_model_too(gateway, worker):
    answer = await gateway.post(chat("gpt-4o"), "/v1/estimate")
    assert (answer.status, answer.json["model"]) == (200, worker.card.model)


@pytest.mark.parametrize("wrong", ["gpt-4o", "=x", "x=", "a=b, a=c", "a=b, b=c"])
def test_what_is_no_list_of_aliases_is_refused_at_start(wrong):
    with pytest.raises(ValidationError, match="aliases"):
        Settings(aliases=wrong)


def test_none_by_default():
    assert Settings(aliases=" , ").models_by_alias() == {}
