"""What a worker announces of its model's tokenizer and chat templates: what vLLM has loaded, checked against vLLM."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import structlog

from tessera.prompt import PromptCounter, PromptFiles, TemplateFile, Uncountable
from tessera.worker.bridge import vllm_name
from tessera.worker.item_counter import ItemCounter

log = structlog.get_logger()

_MODALITIES = ("image", "video", "audio")
_TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}},
}
# In the order of vLLM's request models, which all messages of clients come through.
_CALL = {"id": "call-1", "function": {"arguments": '{"at": "it"}', "name": "look"}, "type": "function"}
_USER = {"role": "user", "content": [{"type": "text", "text": "What is it? Ünïcode  and\nlines."}]}
# Where what is announced gives another prompt than vLLM for one of these, nothing is.
_SAMPLES: list[dict[str, Any]] = [
    {"messages": [_USER]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            _USER,
            {"role": "assistant", "content": "A cat."},
            _USER,
        ]
    },
    {"messages": [{"role": "developer", "content": "Be brief."}, _USER]},
    {"messages": [_USER], "tools": [_TOOL]},
    {
        "messages": [
            _USER,
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call-1", "content": [{"type": "text", "text": "A cat."}]},
        ],
        "tools": [_TOOL],
    },
]


def announce_prompts(app: Any, limits: dict[str, int]) -> bytes:
    """The files as they are announced; empty where only vLLM itself can make this model's prompts.

    Args:
        app: vLLM's application, started.
        limits: modalities that the model takes.
    """
    try:
        renderer = app.state.online_renderer
        files = _files(renderer, limits)
        # Known only once it was needed where vLLM finds it out by itself.
        thinking = getattr(app.state, "anthropic_serving_messages", None)
        if effort := getattr(thinking, "_disabled_thinking_effort", None):
            files = replace(files, disabled_thinking=effort)
        packed = files.encode()
        _check(PromptCounter(PromptFiles.decode(packed)), renderer)
    except Uncountable as error:
        log.info("text_not_counted", reason=str(error))
    except Exception as error:  # another version of vLLM, or a model's own code; a worker serves without it
        log.warning("text_not_counted", reason=repr(error))
    else:
        return packed
    return b""


def _files(online: Any, limits: dict[str, int]) -> PromptFiles:
    renderer, config = online.renderer, online.model_config
    tokenizer = renderer.tokenizer
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if type(renderer).__name__ != "HfRenderer" or fast is None or online.use_harmony:
        raise Uncountable(f"prompts made by {type(renderer).__name__} are not followed")
    if getattr(config.hf_config, "use_unified_vision_chunk", False) or config.enable_prompt_embeds:
        raise Uncountable("the model's prompts are changed once they are made")
    placeholders, targets = {}, {}
    if limits:
        counter = ItemCounter(renderer.get_mm_processor(), tokenizer)
        of_model = vllm_name("get_model_cls")(config).get_placeholder_str
        for modality in _MODALITIES:
            if modality in limits and (target := counter.target(modality)) is not None:
                targets[modality] = target
                placeholders[modality] = _numbered(of_model, modality)
    multimodal = config.multimodal_config
    return PromptFiles(
        tokenizer=fast.to_str(),
        template=_template(online, None),
        tool_template=_template(online, [_TOOL]),
        special_tokens={name: str(token) for name, token in tokenizer.special_tokens_map.items() if token is not None},
        defaults=online.default_chat_template_kwargs,
        placeholders=placeholders,
        targets=targets,
        interleaved=bool(multimodal and multimodal.interleave_mm_strings),
        drops_unused_tools=online.exclude_tools_when_tool_choice_none,
    )


def _template(online: Any, tools: list[dict[str, Any]] | None) -> TemplateFile | None:
    tokenizer, config = online.renderer.tokenizer, online.model_config
    source = vllm_name("resolve_chat_template")(tokenizer, online.chat_template, tools, model_config=config)
    if source is None:
        return None
    content_format = vllm_name("resolve_chat_template_content_format")(
        online.chat_template, tools, online.chat_template_content_format, tokenizer, model_config=config
    )
    return TemplateFile(source, content_format)


def _numbered(of_model: Callable[[str, int], str | None], modality: str) -> str | None:
    """What stands for an item in a text, with ``{}`` in the place of its number."""
    first, second = of_model(modality, 1), of_model(modality, 2)
    if first is None or first == second:
        return first
    numbered = first.replace("1", "{}")
    if numbered.replace("{}", "2") != second:
        raise Uncountable(f"what stands for {modality} in the model's prompts is not understood: {first!r}, {second!r}")
    return numbered


def _check(counter: PromptCounter, online: Any) -> None:
    """See to it that prompts are vLLM's, to the character and to the token.

    Raises:
        Uncountable: one is not.
    """
    renderer, agreed = online.renderer, 0
    for sample in _SAMPLES:
        try:
            theirs = _rendered(online, sample)
        except Exception:  # not for this template
            continue
        try:
            ours, _ = counter.render(sample, {})
        except Uncountable as error:
            raise Uncountable(f"vLLM has a prompt for a conversation of {len(sample['messages'])}: {error}") from error
        tokens = len(renderer.tokenizer(theirs, add_special_tokens=False)["input_ids"])
        if ours != theirs or counter.text(ours) != tokens:
            raise Uncountable(f"vLLM makes another prompt: {theirs[:200]!r} and not {ours[:200]!r}")
        agreed += 1
    if not agreed and counter.has_template:
        raise Uncountable("the chat template takes no conversation")


def _rendered(online: Any, sample: dict[str, Any]) -> str:
    options = {"add_generation_prompt": True, "tokenize": False, **online.default_chat_template_kwargs}
    if tools := sample.get("tools"):
        options["tools"] = tools
    params = vllm_name("ChatParams")(
        chat_template=online.chat_template,
        chat_template_content_format=online.chat_template_content_format,
        chat_template_kwargs=options,
    )
    # vLLM changes what it is given.
    _, prompt = online.renderer.render_messages(deepcopy(sample["messages"]), params)
    text: str = prompt["prompt"]
    return text
