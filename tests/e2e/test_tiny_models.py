"""Budgets through real vLLM: what it counts of tiny models of several families is what was estimated."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.media import image_part, picture, text_part, user
from tests.stack import RunningStack, metric, running_stack
from tests.stack import request as post
from tests.tiny import ENGINE_ARGS, MODELS, make

pytestmark = pytest.mark.e2e
# The whole list takes minutes: `make test-families`.
ALL = bool(os.environ.get("TESSERA_TEST_ALL_FAMILIES"))
NAMES = list(MODELS) if ALL else ["idefics3"]
REQUESTS = 100 if ALL else 25


@pytest.fixture(scope="module", params=NAMES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder: Path = tmp_path_factory.mktemp("tiny")
    make(request.param, folder / "model")
    environment = {
        "TESSERA_MODEL": str(folder / "model"),
        "TESSERA_SERVED_MODEL_NAME": request.param,
        "TESSERA_ENGINE_ARGS": ENGINE_ARGS,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with running_stack(folder, **environment) as running:
        yield running


def name_of(stack: RunningStack) -> str:
    [model] = json.loads(stack.get("/v1/models")[1])["data"]
    assert model["planned_as"] == model["id"]
    return str(model["id"])


def spent(stack: RunningStack, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The estimate of a request, and the usage of its answer."""
    status, _, raw = post(f"{stack.url}/v1/estimate", body)
    assert status == 200, raw
    estimate = json.loads(raw)
    status, _, raw = post(f"{stack.url}/v1/chat/completions", body | {"max_tokens": 1, "temperature": 0})
    assert status == 200, raw
    return estimate, json.loads(raw)["usage"]


def part(chance: random.Random) -> dict[str, Any]:
    made = image_part(picture("blue", (chance.randint(20, 900), chance.randint(20, 900))))
    if chance.random() < 0.4:
        made["image_url"]["detail"] = chance.choice(["low", "high", "auto"])
    return made


def media(usage: dict[str, Any]) -> int:
    return int(usage["prompt_tokens_details"]["multimodal_tokens"]["image"])


def test_engines_count_what_was_estimated(tiny: RunningStack) -> None:
    model, chance, checked = name_of(tiny), random.Random(4), 0
    for _ in range(REQUESTS):
        parts = [part(chance) for _ in range(chance.randint(1, 3))]
        body = {"model": model, "messages": user(*parts, text_part("?"))}
        estimate, _ = spent(tiny, body)
        if chance.random() < 0.7:
            body["visual_token_budget"] = chance.randint(1, sum(estimate["media_tokens"].values()))
            status, _, raw = post(f"{tiny.url}/v1/estimate", body)
            if status == 400:
                error = json.loads(raw)["error"]
                assert error["code"] == "visual_budget_too_small"
                body["visual_token_budget"] = int(error["message"].rsplit(" ", 1)[1].rstrip("."))
        estimate, usage = spent(tiny, body)
        counted = media(usage)
        if all(each["exact"] for each in estimate["parts"]):
            assert estimate["media_tokens"] == {"image": counted}
            checked += 1
        assert counted <= body.get("visual_token_budget", counted)
    lines = tiny.get("/metrics")[1].decode().splitlines()
    assert not metric("\n".join(line for line in lines if "contradicted" in line), "tessera_plans_total")
    assert checked == REQUESTS or model == "idefics3"


def one_image(stack: RunningStack, *, of_url: dict[str, Any], of_part: dict[str, Any], of_body: dict[str, Any]) -> int:
    """Tokens that vLLM counts of a picture, which are those of its estimate where that is exact."""
    made = image_part(picture("green", (640, 480))) | of_part
    made["image_url"] |= of_url
    body = {"model": name_of(stack), "messages": user(made, text_part("?")), **of_body}
    estimate, usage = spent(stack, body)
    if estimate["parts"][0]["exact"]:
        assert estimate["parts"][0]["tokens"] == media(usage)
    return media(usage)


def test_details_and_budgets_change_usage_as_the_plan_says(tiny: RunningStack) -> None:
    whole = one_image(tiny, of_url={"detail": "high"}, of_part={}, of_body={})
    assert one_image(tiny, of_url={"detail": "low"}, of_part={}, of_body={}) < whole
    most = 2 * whole // 3
    assert one_image(tiny, of_url={}, of_part={"max_visual_tokens": most}, of_body={}) <= most
    assert one_image(tiny, of_url={}, of_part={}, of_body={"visual_token_budget": most}) <= most
