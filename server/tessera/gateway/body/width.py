"""How many sequences of the engine's batch a request occupies. What only looks like width is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tessera.errors import InvalidRequest
from tessera.settings import Settings


class Limits(NamedTuple):
    """How much one request may ask for.

    Attributes:
        sequences: see ``TESSERA_MAX_SEQUENCES``.
        inputs: texts of which each is read once; see ``TESSERA_MAX_INPUTS``.
    """

    sequences: int
    inputs: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As the operator has set them."""
        return cls(settings.max_sequences, settings.max_inputs)


# Of a body. Raises ``InvalidRequest`` where that is above the limit, or cannot be counted, naming the field.
Width = Callable[[Mapping[str, Any], Limits], int]


def answers(body: Mapping[str, Any], limits: Limits) -> int:
    """The answers to one prompt: ``n``."""
    return _within(_count(body, "n"), 1, "n", limits)


def completions(body: Mapping[str, Any], limits: Limits) -> int:
    """The answers to each of several prompts."""
    wanted = max(_count(body, "n"), _count(body, "best_of"))
    # vLLM answers both of them.
    prompts = max(1, _prompts(body.get("prompt")) + _prompts(body.get("prompt_embeds")))
    if wanted == 1:
        return _within(1, prompts, "prompt", limits)
    return _within(wanted, prompts, "best_of" if body.get("n") is None else "n", limits)


def conversations(body: Mapping[str, Any], limits: Limits) -> int:
    """One answer to each of several conversations."""
    return _within(1, max(1, _prompts(body.get("messages"))), "messages", limits)


def inputs(body: Mapping[str, Any], limits: Limits) -> int:
    """The texts, or conversations, that are read."""
    param = "messages" if body.get("input") is None else "input"
    value = body.get(param)
    one = not isinstance(value, list) or not value or isinstance(value[0], dict)
    return _read(1 if one else _prompts(value), param, limits)


def longest(*names: str) -> Width:
    """As many as the longest of these lists has members: they are read side by side, or there is but one of them."""

    def width(body: Mapping[str, Any], limits: Limits) -> int:
        lengths = {name: len(value) for name in names if isinstance(value := body.get(name), list)}
        name = max(lengths, key=lambda name: lengths[name], default=names[0])
        return _read(max(1, lengths.get(name, 1)), name, limits)

    return width


def nothing(body: Mapping[str, Any], limits: Limits) -> int:
    """The least that a job can be: the engine is not asked."""
    return 1


def _within(wanted: int, prompts: int, param: str, limits: Limits) -> int:
    most = limits.sequences
    if wanted * prompts <= most:
        return wanted * prompts
    asked = f"{prompts:,} prompts" if wanted == 1 else f"{wanted:,} answers"
    if wanted > 1 and prompts > 1:
        asked += f" to each of {prompts:,} prompts"
    raise InvalidRequest(
        f"The request asks for {asked}; {most:,} sequences are allowed in one request. Send several requests.",
        param=param,
    )


def _read(count: int, param: str, limits: Limits) -> int:
    if count <= limits.inputs:
        return count
    raise InvalidRequest(
        f"The request has {count:,} inputs; {limits.inputs:,} are allowed in one request. Send several requests.",
        param=param,
    )


def _count(body: Mapping[str, Any], name: str) -> int:
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
