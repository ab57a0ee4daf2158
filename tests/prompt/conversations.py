"""Random conversations, such as clients have them, and a few templates that treat them differently."""

from __future__ import annotations

import random
from typing import Any

WORDS = [
    "a", "the", "cat", "sees", "blue", "sky", "東京", "naïve", "Ünïcode", "😀", "ภาษา", "x=1;", "<b>bold</b>",
    "3.14159", "can't", "", "\t\n\n", "<|im_end|>", "<|vision_bos|>", "{{", "}}", "{% y %}", '"quoted"', "back\\slash",
    "e\u0301", "ﬁ", "ﷺ", "\u200b", "a" * 30,
]  # fmt: skip
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather — anywhere.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
SHORT_TOOL = {"function": {"name": "now", "strict": True}, "type": "function", "unknown": 1}

# Contents as strings, roles in brackets, special tokens by their names, a generation tag, an option of its own.
PLAIN = """{{- bos_token or '' }}{% for message in messages %}
[{{ message.role | upper }}{{ ' ' ~ message.name if message.name is defined }}] {{ message['content'] | trim }}
{%- if message.tool_calls is defined %}{% for call in message.tool_calls %} {{ call | tojson }}{% endfor %}{% endif %}

{% endfor %}
{%- if tools %}{{ tools | tojson(indent=2) }}{% endif %}
{%- if documents %}{{ documents | length }} documents{% endif %}
{%- if style is defined %} in {{ style }} style{% endif %}
{%- if enable_thinking is defined and enable_thinking %}<think>{% endif %}
{%- if add_generation_prompt %}[ASSISTANT]{% generation %} {% endgeneration %}{% endif %}"""
# Refuses what does not alternate, knows developers, breaks out of loops.
STRICT = """{%- if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}
{{- '<<' + messages[0]['content'] + '>>' }}
{%- else %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{%- if message['role'] == 'developer' %}{% continue %}{% endif %}
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}{% for item in message['content'] %}{{ item['text'] if item['type'] == 'text' else '<|IMAGE|>' }}{% endfor %}
{%- endif %}{{ eos_token }}
{%- endfor %}"""
PARTS = """{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content %}
{%- if part.type == 'image' %}<|IMAGE|>{% elif part.type == 'text' %}{{ part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}
{%- if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}
{%- if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def sentence(chance: random.Random, most: int = 40) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, most)))


def content(chance: random.Random, media: list[dict[str, Any]] | None = None) -> Any:
    """A string, or parts of all kinds."""
    if not media and chance.random() < 0.5:
        return sentence(chance)
    parts: list[Any] = [{"type": "text", "text": sentence(chance)} for _ in range(chance.randint(1, 3))]
    if chance.random() < 0.2:
        parts.append(sentence(chance, 5))
    parts += media or []
    chance.shuffle(parts)
    return parts


def conversation(chance: random.Random, medium: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of a chat without its model.

    Args:
        medium: a part that some of the user's messages hold.
    """
    messages: list[dict[str, Any]] = []
    if chance.random() < 0.5:
        messages.append({"role": chance.choice(["system", "system", "developer"]), "content": sentence(chance)})
    for turn in range(chance.randint(1, 4)):
        if turn:
            messages += _answer(chance, turn)
        media = [medium] * chance.randint(0, 2) if medium else None
        messages.append({"role": "user", "content": content(chance, media)})
        if chance.random() < 0.1:
            messages[-1]["name"] = "Ann"
    body: dict[str, Any] = {"messages": messages}
    if chance.random() < 0.4:
        body["tools"] = chance.choice([[TOOL], [SHORT_TOOL], [TOOL, SHORT_TOOL]])
        if chance.random() < 0.3:
            body["tool_choice"] = "none"
    match chance.randrange(8):
        case 0:
            body["add_generation_prompt"] = False
        case 1:
            messages.append({"role": "assistant", "content": sentence(chance)})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        case 2:
            body["chat_template_kwargs"] = {"style": "terse", "unknown": 1, "enable_thinking": None}
        case 3:
            body["reasoning_effort"] = chance.choice(["none", "low", "high"])
        case 4:
            body["documents"] = [{"title": "One", "text": sentence(chance)}]
        case 5:
            body["add_special_tokens"] = True
    return body


def _answer(chance: random.Random, turn: int) -> list[dict[str, Any]]:
    said: dict[str, Any] = {"role": "assistant", "content": content(chance)}
    if chance.random() < 0.2:
        said["reasoning_content"] = sentence(chance)
    if chance.random() < 0.7:
        return [said]
    arguments = chance.choice(['{"place": "Århus", "n": 1.50}', "", "no JSON", "[1]"])
    call = {"id": f"call-{turn}", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    said |= {"content": chance.choice([None, "Let me see."]), "tool_calls": [call]}
    return [said, {"role": "tool", "tool_call_id": f"call-{turn}", "content": content(chance)}]
