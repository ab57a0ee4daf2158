"""How much of a file may be damaged before the rest no longer stands for it."""

from __future__ import annotations

from tessera.errors import MediaDecodeFailed

_MAX_SHARE = 0.1


def check_damage(lost: int, total: int) -> None:
    """Let single clicks and holes pass, as players do; an answer about half of a recording is none.

    Args:
        lost: packets, pages or bytes that cannot be read.
        total: the same of the whole.

    Raises:
        MediaDecodeFailed: more than a tenth is lost.
    """
    if lost > total * _MAX_SHARE:
        raise MediaDecodeFailed(f"The audio is damaged: {lost / total:.0%} of it cannot be decoded.")
