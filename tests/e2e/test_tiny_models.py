"""Budgets through real vLLM: what it counts of tiny models of several families is what was estimated."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.media import image_part, picture, text_part, user
from tests.polling import eventually_sync
from tests.stack import RunningStack, metric, running_stack
from tests.stack import request as post
from tests.tiny import ENGINE_ARGS, MODELS, adapter, make

pytestmark = pytest.mark.e2e
# The whole list takes minutes: `make test-families`.
ALL = bool(os.environ.get("TESSERA_TEST_ALL_FAMILIES"))
NAMES = list(MODELS) if ALL else [adapter.MODEL]
LORA = f"--enable-lora --max-lora-rank {2 * adapter.RANK} --max-loras 2 --max-cpu-loras 8"
ADMIN_KEY = "the-operators-own-key"
REQUESTS = 100 if ALL else 25


@pytest.fixture(scope="module", params=NAMES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder: Path = tmp_path_factory.mktemp("tiny")
    make(request.param, folder / "model")
    environment = {
        "TESSERA_MODEL": str(folder / "model"),
        "TESSERA_SERVED_MODEL_NAME": request.param,
        "TESSERA_ENGINE_ARGS": f"{ENGINE_ARGS} {LORA if request.param == adapter.MODEL else ''}",
        "TESSERA_ADMIN_KEY": ADMIN_KEY,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # vLLM's own way, at its own port
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with running_stack(folder, **environment) as running:
        yield running


def name_of(stack: RunningStack) -> str:
    [model] = [each for each in json.loads(stack.get("/v1/models")[1])["data"] if each["parent"] is None]
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


def operate(stack: RunningStack, verb: str, **body: str) -> httpx.Response:
    """Load or unload an adapter."""
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.post(f"{stack.url}/v1/{verb}_lora_adapter", json=body, headers=key, timeout=60)


def likeliest(url: str, model: str) -> list[list[str]]:
    """The five likeliest tokens at each of the first places of an answer about a picture.

    Weights of next to nothing make all about as likely: it is their order that tells.
    """
    body = {"model": model, "messages": user(image_part(picture("red")), text_part("Hello")), "logprobs": True}
    options = {"max_tokens": 4, "temperature": 0, "top_logprobs": 5}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body | options, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model
    places = answer.json()["choices"][0]["logprobs"]["content"]
    return [[each["token"] for each in place["top_logprobs"]] for place in places]


def test_an_adapter_answers_as_it_does_in_vllm_and_leaves_its_base_alone(tiny: RunningStack, tmp_path: Path) -> None:
    model = name_of(tiny)
    if model != adapter.MODEL:
        pytest.skip("the adapter is for another one")
    adapter.make_adapter(tmp_path / "one")
    adapter.make_adapter(tmp_path / "other", seed=2)
    adapter.make_adapter(tmp_path / "large", rank=4 * adapter.RANK)
    base = likeliest(tiny.url, model)
    assert operate(tiny, "load", lora_name="tuned", lora_path=str(tmp_path / "one")).status_code == 200
    assert operate(tiny, "load", lora_name="second", lora_path=str(tmp_path / "other")).status_code == 200
    own = {"lora_name": "own", "lora_path": str(tmp_path / "one")}
    assert httpx.post(f"{tiny.direct_url}/v1/load_lora_adapter", json=own).status_code == 200
    tuned, second = likeliest(tiny.url, "tuned"), likeliest(tiny.url, "second")
    assert tuned == likeliest(tiny.direct_url, "own")
    assert len({json.dumps(each) for each in (base, tuned, second)}) == 3
    assert likeliest(tiny.url, model) == base
    for path, reason in ((tmp_path / "large", "rank"), (tmp_path / "nowhere", "nowhere")):
        refused = operate(tiny, "load", lora_name="third", lora_path=str(path))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_not_loaded")
        assert reason in refused.json()["error"]["message"]
    listed = {each["id"]: each["parent"] for each in json.loads(tiny.get("/v1/models")[1])["data"]}
    assert {"tuned": model, "second": model}.items() <= listed.items()
    for name in ("tuned", "second"):
        assert operate(tiny, "unload", lora_name=name).status_code == 200
    status, _, raw = post(f"{tiny.url}/v1/chat/completions", {"model": "tuned", "messages": user(text_part("?"))})
    assert (status, json.loads(raw)["error"]["code"]) == (404, "model_not_found")
    assert httpx.post(f"{tiny.direct_url}/v1/unload_lora_adapter", json={"lora_name": "own"}).status_code == 200
    eventually_sync(lambda: b'"own"' not in tiny.get("/v1/models")[1], "it is gone")
