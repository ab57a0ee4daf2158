"""A chat template, rendered as transformers does it, within limits: the template is the operator's, what it is given is
a client's.

After ``transformers.utils.chat_template_utils`` (5.19) and ``vllm.renderers.hf`` (0.32).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tessera.prompt.files import Uncountable

LIMIT_S = 2.0
# Of a rendered conversation, characters.
MOST_CHARS = 8 << 20
# Parameters of ``apply_chat_template``: where a request sets one as if it were a template's, vLLM does something else.
RESERVED = frozenset({
    "conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize", "padding",
    "continue_final_message", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs",
    "return_assistant_tokens_mask",
})  # fmt: skip
_CONTINUE = "CONTINUE_FINAL_MESSAGE_TAG "


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what the assistant says; it changes nothing of the text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_rendered"), [], [], body).set_lineno(line)

    def _rendered(self, caller: Any) -> str:
        text: str = caller()
        return text


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # Jinja's own escapes what means something in HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(format: str) -> str:
    return datetime.now().strftime(format)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    # Prompts are no HTML: nothing is to be escaped.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols], autoescape=False
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    return environment


class ChatTemplate:
    """One template, compiled.

    Raises:
        Uncountable: it cannot be compiled.
    """

    def __init__(self, source: str):
        environment = _environment()
        self._source = source
        try:
            self._template = environment.from_string(source)
            self._variables = jinja2.meta.find_undeclared_variables(environment.parse(source))
        except Exception as error:
            raise Uncountable(f"the chat template cannot be compiled: {error}") from error

    @property
    def knows_developers(self) -> bool:
        """Whether it has the role `developer`; otherwise vLLM makes it `system`."""
        return '"developer"' in self._source or "'developer'" in self._source

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        documents: Any = None,
        add_generation_prompt: bool = True,
        continued: bool = False,
        options: Mapping[str, Any],
        special_tokens: Mapping[str, Any],
        most_chars: int = MOST_CHARS,
        limit_s: float = LIMIT_S,
    ) -> str:
        """The prompt of a conversation.

        Args:
            continued: the answer goes on with the last message.
            options: what the template is told besides; those that it does not know are left out.
            most_chars: of the prompt.
            limit_s: looked at with each piece that the template writes.

        Raises:
            Uncountable: the template refuses it, or it takes too long or too much.
        """
        if continued and add_generation_prompt:
            raise Uncountable("a continued message and a generation prompt exclude each other")
        final = ""
        if continued:
            messages, final = _tagged(messages)
            if "content" not in self._source:
                raise Uncountable("the chat template does not show the message that is to be continued")
        known = {name: value for name, value in options.items() if name in self._variables}
        told = {"messages": messages, "tools": tools, "documents": documents}
        told |= {"add_generation_prompt": add_generation_prompt, **special_tokens, **known}
        pieces: list[str] = []
        left, deadline = most_chars, time.monotonic() + limit_s
        try:
            for piece in self._template.generate(told):
                pieces.append(piece)
                left -= len(piece)
                if left < 0 or time.monotonic() > deadline:
                    break
        except Exception as error:  # templates raise whatever Python does
            raise Uncountable(f"the chat template refuses the conversation: {str(error)[:200]}") from error
        if left < 0:
            raise Uncountable(f"the chat template writes more than {most_chars:,} characters")
        if time.monotonic() > deadline:
            raise Uncountable(f"the chat template takes longer than {limit_s:g} s")
        text = "".join(pieces)
        return _cut(text, final) if continued else text


@lru_cache(maxsize=64)
def takes_later_system(source: str) -> bool:
    """Whether a template takes messages of the system between others, by vLLM's own test of it, which knows no more.

    After ``AnthropicServingMessages._detect_merge_inline_system`` of ``vllm.entrypoints.anthropic.serving`` (0.32).
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    messages = [{"role": role, "content": "t"} for role in ("system", "user", "system", "user")]
    try:
        environment.from_string(source).render(messages=messages, add_generation_prompt=False)
    except Exception:  # templates raise whatever Python does
        return False
    return True


def _tagged(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The messages with a mark behind the last one's text, and that text."""
    tagged = [dict(message) for message in messages]
    last = tagged[-1] = deepcopy(tagged[-1])
    content = last.get("content")
    if isinstance(content, str):
        last["content"] = content + _CONTINUE
        return tagged, content
    for part in reversed(content or []):
        if "text" in part:
            text: str = part["text"]
            part["text"] = text + _CONTINUE
            return tagged, text
    raise Uncountable("the last message has no text that could be continued")


def _cut(text: str, final: str) -> str:
    at = text.rfind(_CONTINUE.strip())
    if at < 0 or final.strip() not in text:
        raise Uncountable("the chat template does not show the message that is to be continued")
    return text[:at] if text.startswith(_CONTINUE, at) else text[:at].rstrip()
