"""What a request would cost, where there is a price list."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pydantic import ValidationError

from tessera.gateway.price import price_of, price_of_answer
from tessera.queue import Data, End, token_counts
from tessera.settings import Prices, Settings
from tests.gateway.scripted import DOCUMENT, chat
from tests.gateway.test_planning import NANO, PICTURE
from tests.polling import eventually

LIST = Prices(text=0.2, image=0.5, answer=0.6)


@pytest.fixture
def card(card):
    return replace(card, plan=NANO.to_json())


def test_media_without_a_price_costs_what_text_does():
    price = price_of(LIST, "EUR", 1000, {"image": 2000, "audio": 500}, 100)
    assert price.currency == "EUR"
    assert price.by_modality == pytest.approx({"text": 0.0002, "image": 0.001, "audio": 0.0001})
    assert price.prompt == pytest.approx(0.0013)
    assert price.answer_at_most == pytest.approx(0.00006)


@pytest.mark.parametrize(("named", "known"), [("this", True), ("*", True), ("another", False)])
async def test_an_estimate_tells_it_for_models_of_the_list_alone(start_gateway, settings, worker, named, known):
    name = worker.card.model if named == "this" else named
    gateway = await start_gateway(settings.model_copy(update={"prices": {name: LIST}}))
    answer = await gateway.post(chat(worker.card.model, PICTURE, max_tokens=50), "/v1/estimate")
    assert (answer.json["price"] is not None) == known
    if known:
        image = answer.json["media_tokens"]["image"]
        assert answer.json["price"]["by_modality"]["image"] == pytest.approx(image * 0.5e-6)
        assert answer.json["price"]["answer_at_most"] == pytest.approx(50 * 0.6e-6)


@pytest.mark.parametrize(
    "value", ['{"m": {"text": -1}}', '{"m": {"image": 1}}', '{"m": {"text": 1, "pictures": 1}}', "[]"]
)
def test_a_list_that_is_none_is_refused(monkeypatch, value):
    monkeypatch.setenv("TESSERA_PRICES", value)
    with pytest.raises(ValidationError):
        Settings()


def test_a_list_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TESSERA_PRICES", '{"m": {"text": 0.2, "video": 1}}')
    prices = Settings().prices_of("m")
    assert prices is not None
    assert (prices.text, prices.video, prices.image) == (0.2, 1, None)
    assert Settings().prices_of("n") is None


USAGE = {
    "prompt_tokens": 3000, "completion_tokens": 500,
    "prompt_tokens_details": {"cached_tokens": 100, "multimodal_tokens": {"image": 2000, "audio": 400}},
}  # fmt: skip
COST = (600 * 0.2 + 2000 * 0.5 + 400 * 0.2 + 500 * 0.6) / 1e6


def test_an_answer_costs_what_an_estimate_of_the_same_tokens_says():
    counts = token_counts(USAGE)
    estimate = price_of(LIST, "EUR", 600, {"image": 2000, "audio": 400}, 500)
    assert price_of_answer(LIST, counts) == pytest.approx(COST)
    assert price_of_answer(LIST, counts) == pytest.approx(estimate.prompt + estimate.answer_at_most)
    assert price_of_answer(LIST, {}) == 0


async def test_what_tenants_spent_is_counted_by_model(start_gateway, settings, worker):
    model = worker.card.model
    keys = settings.model_copy(update={"api_key": "sk-a", "prices": {model: LIST}, "price_currency": "EUR"})
    gateway = await start_gateway(keys)

    async def answer(lease):
        await worker.say(lease, DOCUMENT, Data(b"{}"), End(USAGE))

    async with worker.serving(answer):
        for _ in range(3):
            await gateway.post(chat(model), headers={"Authorization": "Bearer sk-a"})

    async def counted() -> bool:
        spent = await gateway.metric("tessera_tenant_cost_total", tenant="default", model=model, currency="EUR")
        return spent == pytest.approx(3 * COST)

    await eventually(counted, "three times as much")


async def test_requests_that_go_on_without_their_clients_cost_as_much(start_gateway, settings, worker):
    model = worker.card.model
    gateway = await start_gateway(settings.model_copy(update={"prices": {"*": LIST}}))
    asked = asyncio.create_task(gateway.post(chat(model), headers={"X-Tessera-On-Disconnect": "continue"}))
    lease = await worker.take()
    asked.cancel()
    await eventually(lambda: gateway.requests() == 0, "the gateway has noticed")
    await worker.say(lease, DOCUMENT, Data(b"{}"), End(USAGE))

    async def counted() -> bool:
        return await gateway.metric("tessera_tenant_cost_total", model=model) == pytest.approx(COST)

    await eventually(counted, "it is counted")


async def test_without_a_list_nothing_costs_anything(gateway, worker):
    async with worker.serving(worker.echo):
        await gateway.post(chat(worker.card.model))
    assert f'model="{worker.card.model}"' in await gateway.metrics()
    assert "tessera_tenant_cost_total" not in {
        line.partition("{")[0] for line in (await gateway.metrics()).splitlines() if worker.card.model in line
    }
