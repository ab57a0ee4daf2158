"""How an error quotes the type of something that is not supported; the log has what errors say."""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}", re.ASCII)


def shown(kind: Any) -> str:
    """The type in quotes, where it may be the name of one: anything else may be a part of the prompt."""
    if kind is None or (isinstance(kind, str) and _NAME.fullmatch(kind)):
        return repr(kind)
    return "'…'"
