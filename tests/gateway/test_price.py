"""What a request would cost, where there is a price list."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from tessera.gateway.price import price_of
from tessera.settings import Prices, Settings
from tests.gateway.scripted import chat
from tests.gateway.test_planning import NANO, PICTURE

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
