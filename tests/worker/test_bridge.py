from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from types import ModuleType, SimpleNamespace

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message

from tessera.media import ImageResize
from tessera.worker import bridge, processor, torch_compat


@pytest.fixture
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the installed vLLM nor torch is touched."""
    monkeypatch.setattr(torch_compat, "activate", lambda: None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))


def install(monkeypatch: pytest.MonkeyPatch, module: str, **names: object) -> None:
    parts = module.split(".")
    for n in range(1, len(parts)):
        parent = ".".join(parts[:n])
        if parent not in sys.modules:
            monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    made = ModuleType(module)
    made.__dict__.update(names)
    monkeypatch.setitem(sys.modules, module, made)


@pytest.mark.parametrize("name", sorted(bridge._HOMES))
def test_a_name_is_found_in_each_of_its_homes(no_vllm: None, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for home in reversed(bridge._HOMES[name]):  # the newest wins
        thing = object()
        install(monkeypatch, home, **{name: thing})
        assert bridge.vllm_name(name) is thing


def test_a_module_that_no_longer_has_the_name_is_passed_over(no_vllm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    newer, older = bridge._HOMES["build_app"]
    install(monkeypatch, newer)
    install(monkeypatch, older, build_app="older")
    assert bridge.vllm_name("build_app") == "older"


def test_without_vllm_it_says_what_to_install(no_vllm: None) -> None:
    with pytest.raises(ImportError, match="extra"):
        bridge.vllm_name("build_app")


@pytest.mark.parametrize(
    ("small", "cpu", "bfloat16", "extra", "dtype"),
    [
        (True, True, False, "", "float32"),
        (True, True, False, "--dtype bfloat16", "bfloat16"),
        (True, True, True, "", "auto"),
        (True, False, False, "", "auto"),
        (False, True, False, "", "auto"),
    ],
)
def test_a_small_model_is_computed_in_what_the_cpu_is_fast_with(
    no_vllm: None, monkeypatch: pytest.MonkeyPatch, small: bool, cpu: bool, bfloat16: bool, extra: str, dtype: str
) -> None:
    def make_arg_parser(parser: ArgumentParser) -> ArgumentParser:
        for flag in ("--model", "--served-model-name"):
            parser.add_argument(flag)
        for flag in ("--enable-prompt-tokens-details", "--enforce-eager"):
            parser.add_argument(flag, action="store_true")
        parser.add_argument("--dtype", default="auto")
        return parser

    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # so that the test leaves none behind
    install(monkeypatch, "vllm.platforms", current_platform=SimpleNamespace(is_cpu=lambda: cpu))
    install(monkeypatch, "vllm.utils.argparse_utils", FlexibleArgumentParser=ArgumentParser)
    home = bridge._HOMES["make_arg_parser"][0]
    install(monkeypatch, home, make_arg_parser=make_arg_parser, validate_parsed_serve_args=lambda args: None)
    monkeypatch.setattr(processor, "computes_in_bfloat16", lambda: bfloat16)
    assert bridge.parse_engine_args("m", "m", extra, small=small).dtype == dtype


def test_a_model_without_media_has_no_limits() -> None:
    assert bridge.modality_limits(SimpleNamespace(is_multimodal_model=False)) == {}


@pytest.mark.parametrize("built_early", [False, True])
async def test_errors_of_a_kind_get_their_own_answer(built_early: bool) -> None:
    app = FastAPI()

    @app.get("/")
    async def fail() -> None:
        raise LookupError("gone")

    async def answer(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(str(error), 503)

    if built_early:
        app.middleware_stack = app.build_middleware_stack()
    bridge.answer_errors(app, LookupError, answer)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 503
    assert sent[1]["body"] == b"gone"


@pytest.mark.parametrize(
    ("state", "fingerprint"),
    [
        (SimpleNamespace(openai_serving_chat=SimpleNamespace(system_fingerprint="f")), "f"),
        (SimpleNamespace(openai_serving_chat=None, openai_serving_completion=SimpleNamespace()), None),
        (SimpleNamespace(), None),
    ],
)
def test_the_fingerprint_is_the_applications_where_it_has_one(state: SimpleNamespace, fingerprint: str | None) -> None:
    assert bridge.system_fingerprint(SimpleNamespace(state=state)) == fingerprint


class Qwen2VLImageProcessor(SimpleNamespace):
    """By this name the rule is known."""


def images(**changes: object) -> Qwen2VLImageProcessor:
    known = {"do_resize": True, "resample": 3, "patch_size": 14, "merge_size": 2}
    return Qwen2VLImageProcessor(**{**known, "size": {"shortest_edge": 12544, "longest_edge": 200704}, **changes})


@pytest.mark.parametrize(
    ("processor_of_images", "options", "rule"),
    [
        (images(), None, ImageResize(28, 12544, 200704)),
        (images(patch_size=16), {}, ImageResize(32, 12544, 200704)),
        (images(), {"max_pixels": 100_000}, None),
        (images(do_resize=False), None, None),
        (images(resample=2), None, None),
        (SimpleNamespace(**vars(images())), None, None),
        (None, None, None),
    ],
)
def test_only_a_rule_that_is_known_for_certain_is_announced(
    no_vllm: None,
    monkeypatch: pytest.MonkeyPatch,
    processor_of_images: SimpleNamespace | None,
    options: dict[str, int] | None,
    rule: ImageResize | None,
) -> None:
    info = SimpleNamespace()
    if processor_of_images is not None:
        info.get_image_processor = lambda: processor_of_images
    registry = SimpleNamespace(get_processing_info=lambda _: info)
    install(monkeypatch, "vllm.multimodal", MULTIMODAL_REGISTRY=registry)
    config = SimpleNamespace(get_multimodal_config=lambda: SimpleNamespace(mm_processor_kwargs=options))
    assert bridge.image_resize(config) == rule


@pytest.mark.parametrize("arguments", [{}, {"trust_request_mm_kwargs": False}, {"trust_request_mm_kwargs": True}])
def test_vllm_takes_what_gateways_let_through(arguments: dict[str, bool]) -> None:
    args = Namespace(**arguments)
    assert bridge.trust_gateways(args) is any(arguments.values())
    assert args.trust_request_mm_kwargs is True


@pytest.mark.parametrize(("pruned", "family"), [(None, "llava"), (0.0, "llava"), (0.3, None)])
def test_a_plan_is_announced_unless_tokens_are_dropped(
    no_vllm: None, monkeypatch: pytest.MonkeyPatch, pruned: float | None, family: str | None
) -> None:
    vision = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}
    config = {"model_type": "llava", "vision_config": vision, "vision_feature_select_strategy": "default"}
    info = SimpleNamespace(get_hf_processor=lambda: SimpleNamespace())
    install(
        monkeypatch,
        "vllm.multimodal",
        MULTIMODAL_REGISTRY=SimpleNamespace(get_processing_info=lambda _: info),
    )
    model_config = SimpleNamespace(
        hf_config=SimpleNamespace(to_dict=lambda: config),
        get_multimodal_config=lambda: SimpleNamespace(mm_processor_kwargs=None, video_pruning_rate=pruned),
    )
    assert bridge.plan(model_config).get("family") == family
