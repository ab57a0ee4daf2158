"""Counts the tokens of prompts with a model's own tokenizer and chat template."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from tessera.prompt.conversation import Media, Whole, build_conversation, whole_value
from tessera.prompt.files import AUTO, PromptFiles, Uncountable
from tessera.prompt.template import MOST_CHARS, RESERVED, ChatTemplate, takes_later_system

# Each text is encoded in a thread of the caller's; more of them would be started in every process that counts.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Values that vLLM takes for none where options of templates are merged.
_UNSET = (None, "auto")
# With these a request is not the prompt that its messages are.
_CHANGING = ("chat_template", "prompt_embeds", "truncate_prompt_tokens", "kv_transfer_params")
# To each of these a template that knows what `none` is writes something else.
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens of a prompt's text.

    Attributes:
        tokens: without those that stand for its media.
        items: media in it, by modality.
    """

    tokens: int
    items: Mapping[str, int]


class PromptCounter:
    """For one model. Its methods take as long as the text; they may be called from any thread.

    Raises:
        Uncountable: the tokenizer cannot be loaded.
    """

    def __init__(self, files: PromptFiles):
        try:
            self._tokenizer = Tokenizer.from_str(files.tokenizer)
        except Exception as error:  # the library raises nothing more special
            raise Uncountable(f"the tokenizer cannot be loaded: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._files = files

    @property
    def has_template(self) -> bool:
        """Whether there is a chat template at all."""
        return self._files.template is not None or self._files.tool_template is not None

    @cached_property
    def longest_token(self) -> int:
        """Most characters that one token stands for."""
        return max(map(len, self._tokenizer.get_vocab(with_added_tokens=True)))

    def text(self, text: str, *, special_tokens: bool = False) -> int:
        """Tokens of a text.

        Args:
            special_tokens: with those that the tokenizer puts around it (of completions, not of chats).

        Raises:
            Uncountable: it is too long to be counted in passing.
        """
        if len(text) > MOST_CHARS:
            raise Uncountable(f"texts above {MOST_CHARS:,} characters are not counted")
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=special_tokens)[0])

    def pieces(self, texts: Iterable[str]) -> int:
        """Tokens of texts that special tokens stand around."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return sum(map(len, encoded))

    def prompt(self, body: Mapping[str, Any], text: str) -> int:
        """Tokens of a completion's prompt.

        Args:
            body: of the request.
            text: the prompt, whole.

        Raises:
            Uncountable: the request changes it on the way.
        """
        _check_unchanged(body)
        return self.text(text, special_tokens=body.get("add_special_tokens") is not False)

    def chat(
        self, body: Mapping[str, Any], media: Media, whole: Whole = str, *, calls_as_made: bool = False
    ) -> Counted:
        """Tokens of a chat's prompt.

        Args:
            body: of the request.
            media: parts of its messages that are no text.
            whole: gives the string for which one of the body stands.
            calls_as_made: see ``build_conversation``.

        Raises:
            Uncountable: the model has no template that could be followed, or refuses the conversation, or the request
                asks for what nobody here follows.
        """
        text, items = self.render(body, media, whole, calls_as_made=calls_as_made)
        for modality in items:
            if modality not in self._files.targets:
                raise Uncountable(f"what stands for {modality} in this model's prompts is not known")
        tokens = self.text(text, special_tokens=bool(body.get("add_special_tokens")))
        return Counted(tokens - sum(self._files.targets[modality] * count for modality, count in items.items()), items)

    def render(
        self, body: Mapping[str, Any], media: Media, whole: Whole = str, *, calls_as_made: bool = False
    ) -> tuple[str, Counter[str]]:
        """The text of a chat's prompt, and how many items of each modality it holds; raises as ``chat``."""
        _check_unchanged(body)
        tools = None if self._files.drops_unused_tools and body.get("tool_choice") == "none" else _tools(body, whole)
        file = self._files.template if tools is None else self._files.tool_template
        if file is None:
            raise Uncountable("the model has no chat template")
        template = self._template(file.source)
        content_format = file.content_format
        messages, items = build_conversation(
            body["messages"], self._files, content_format, media, whole, calls_as_made=calls_as_made
        )
        if not template.knows_developers:
            messages = _without_developers(messages)
        generation = body.get("add_generation_prompt")
        text = template.render(
            messages,
            tools=tools,
            documents=whole_value(body.get("documents"), whole),
            add_generation_prompt=generation is None or bool(generation),
            continued=bool(body.get("continue_final_message")),
            options={**self._files.defaults, **_options(body, whole)},
            special_tokens=self._files.special_tokens,
        )
        return text, items

    @cached_property
    def system_first(self) -> bool:
        """Whether the system speaks at the beginning alone: there vLLM puts all that it says in Anthropic's API."""
        files = (self._files.template, self._files.tool_template)
        return not all(file is not None and takes_later_system(file.source) for file in files)

    @cached_property
    def disabled_effort(self) -> str:
        """``reasoning_effort`` where thinking is disabled: ``none``, or ``low`` where the template ignores that."""
        if self._files.disabled_thinking != AUTO:
            return self._files.disabled_thinking
        none = self._greeting("none")
        ignored = none is None or any(self._greeting(effort) == none for effort in _EFFORTS)
        return "low" if ignored else "none"

    def _greeting(self, effort: str) -> str | None:
        try:
            return self.render({"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": effort}, {})[0]
        except Uncountable:
            return None

    def _template(self, source: str) -> ChatTemplate:
        if source not in self._templates:
            self._templates[source] = ChatTemplate(source)
        return self._templates[source]

    @cached_property
    def _templates(self) -> dict[str, ChatTemplate]:
        return {}


def _check_unchanged(body: Mapping[str, Any]) -> None:
    for name in _CHANGING:
        if body.get(name) is not None:
            raise Uncountable(f"with `{name}` the prompt is another one")


def _tools(body: Mapping[str, Any], whole: Whole) -> list[dict[str, Any]] | None:
    """As vLLM hands them to templates: with all fields that it knows, and no others."""
    tools = whole_value(body.get("tools"), whole)
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise Uncountable("tools must be an array")
    return [_tool(tool) for tool in tools]


def _tool(tool: Any) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Uncountable("a tool must be a function with a name")
    deferred = tool.get("defer_loading")
    known = {name: function.get(name) for name in ("name", "description", "parameters")}
    of_function = {"strict": function.get("strict"), "defer_loading": function.get("defer_loading", deferred)}
    known |= {name: value for name, value in of_function.items() if value is not None}
    named = {"type": "function", "function": known}
    return named if deferred is None else {**named, "defer_loading": deferred}


def _options(body: Mapping[str, Any], whole: Whole) -> dict[str, Any]:
    given = whole_value(body.get("chat_template_kwargs"), whole) or {}
    if not isinstance(given, dict):
        raise Uncountable("`chat_template_kwargs` must be an object")
    for name, value in given.items():
        if name in RESERVED and value not in _UNSET:
            raise Uncountable(f"with `chat_template_kwargs.{name}` the prompt is another one")
    options = {name: value for name, value in given.items() if value not in _UNSET}
    effort = body.get("reasoning_effort")
    if effort not in _UNSET:
        options["reasoning_effort"] = effort
    if effort is not None and "enable_thinking" not in given:
        options["enable_thinking"] = effort != "none"
    return options


def _without_developers(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Developers' messages as the system's, all in one at the beginning, where the template knows no developers."""
    if not any(message["role"] == "developer" for message in messages):
        return messages
    turned = [_as_system(message) if message["role"] == "developer" else message for message in messages]
    if not any(message["role"] == "system" for message in turned[1:]):
        return turned
    texts = [text for message in turned if message["role"] == "system" and (text := _text_of(message))]
    return [
        {"role": "system", "content": "\n\n".join(texts)},
        *(message for message in turned if message["role"] != "system"),
    ]


def _as_system(message: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in message.items() if name != "tools"}, "role": "system"}


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content", "")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if "text" in part)
    return str(content)
