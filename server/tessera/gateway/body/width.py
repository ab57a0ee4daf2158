"""How many sequences of the engine's batch a request occupies."""

from __future__ import annotations

from typing import Any

from tessera.errors import InvalidRequest


def width_of(body: dict[str, Any], prompt: str, most: int) -> int:
    """Its answers a prompt, times its prompts. What only looks like width, as ``prompt`` in a chat, is none.

    Args:
        prompt: the field that carries the prompt: a chat has one.
        most: limit, see ``TESSERA_MAX_SEQUENCES``.

    Raises:
        InvalidRequest: above it, or not to be counted; naming the field.
    """
    if prompt != "prompt":
        answers, prompts = _count(body, "n"), 1
    else:
        answers = max(_count(body, "n"), _count(body, "best_of"))
        # vLLM answers both of them.
        prompts = max(1, _prompts(body.get("prompt")) + _prompts(body.get("prompt_embeds")))
    if answers * prompts <= most:
        return answers * prompts
    if answers == 1:
        param, asked = prompt, f"{prompts:,} prompts"
    else:
        param = "best_of" if body.get("n") is None else "n"
        asked = f"{answers:,} answers" + f" to each of {prompts:,} prompts" * (prompts > 1)
    raise InvalidRequest(
        f"The request asks for {asked}; {most:,} sequences are allowed in one request. Send several requests.",
        param=param,
    )


def _count(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if value is None:
        return 1
    # In JSON 2.0 is an integer, and vLLM takes it for one.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise InvalidRequest(f"`{name}` must be an integer of at least 1.", param=name)
    return int(value)


def _prompts(value: Any) -> int:
    if not isinstance(value, list):
        return int(value not in (None, ""))
    # A list of numbers is one prompt, in tokens.
    return 1 if value and isinstance(value[0], int | float) else len(value)
