"""Keys in Redis that are of another type than they should be; the scripts set them aside (``lua/damage.lua``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from redis.exceptions import ResponseError

log = structlog.get_logger()


def tell_damaged(prefix: str, names: Iterable[bytes]) -> None:
    """Log what a script has set aside, each once.

    Args:
        prefix: of the keys.
        names: without it.
    """
    for name in names:
        key = prefix + name.decode(errors="replace")
        kept = f"{prefix}damaged:{name.decode(errors='replace')}"
        log.error("redis_key_damaged", key=key, kept_as=kept, hint="something else writes into this Redis")


def sound(answer: Any) -> Any:
    """What a key holds; None where it is of another type: it is about to be set aside."""
    if isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer
