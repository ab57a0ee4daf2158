"""What an answer is made of, whatever stands in it."""

from __future__ import annotations

from typing import Any


def same_form(example: Any, answer: Any) -> bool:
    """Whether they have the same members, and of the same kinds; null may be anything, and a list of any length."""
    if isinstance(example, dict) and isinstance(answer, dict):
        return example.keys() == answer.keys() and all(same_form(example[name], answer[name]) for name in example)
    if isinstance(example, list) and isinstance(answer, list):
        return not answer or all(any(same_form(each, other) for other in answer) for each in example)
    numbers = (int, float)
    if isinstance(example, numbers) and isinstance(answer, numbers):
        return isinstance(example, bool) is isinstance(answer, bool)
    return example is None or answer is None or type(example) is type(answer)
