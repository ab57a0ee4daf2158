"""Small requests to a server that has to heal before it can answer them."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.media import text_part, user
from tests.stack import RunningStack, request

HEAL_S = 180


def ask(stack: RunningStack, *parts: dict[str, Any], timeout_s: float = HEAL_S) -> tuple[int, dict[str, object]]:
    body = {"model": stack.model, "messages": user(*parts, text_part("Hello")), "max_tokens": 4}
    status, _, content = request(f"{stack.url}/v1/chat/completions", body, timeout_s=timeout_s)
    return status, json.loads(content)
