"""Limits on decoding that no header can talk its way around, and the errors that come out of it."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from tessera.errors import MediaDecodeFailed, MediaDecodeTimeout, MediaTooLarge, TesseraError
from tessera.settings import MIB, Settings

log = structlog.get_logger()

MAX_VIDEO_FRAMES = 432_000
"""Most frames in a video: one hour at 120 frames per second."""

_REDIS_MAX_STRING_BYTES = 512 * MIB
_HEADER_ROOM_BYTES = MIB


class DecodeCancelled(Exception):
    """Nobody waits for the result any more; never leaves the decoding thread's caller."""


class Deadline:
    """How long a decoding may go on. ``check`` is called for every frame or block.

    Args:
        timeout_s: wall time from now; without it only ``cancel`` ends the decoding.
    """

    def __init__(self, timeout_s: float = math.inf):
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Make the next ``check`` raise; callable from any thread."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise ``MediaDecodeTimeout`` when the time is over and ``DecodeCancelled`` after ``cancel``."""
        if self._cancelled.is_set():
            raise DecodeCancelled
        if time.monotonic() > self._end:
            raise timed_out(self._timeout_s)


def timed_out(timeout_s: float) -> MediaDecodeTimeout:
    """The error of a decoding that took longer than it may."""
    return MediaDecodeTimeout(
        f"Decoding takes longer than the {timeout_s:g} s that this server allows "
        "(TESSERA_MEDIA_DECODE_TIMEOUT_S). Send it shorter, smaller or with fewer frames per second."
    )


def max_item_bytes(settings: Settings) -> int:
    """Largest decoded item: no more than a quarter of the store, and one Redis string."""
    return min(_REDIS_MAX_STRING_BYTES, settings.media_store_max_bytes // 4) - _HEADER_ROOM_BYTES


@contextmanager
def media_errors(what: str) -> Iterator[None]:
    """Turn whatever a decoding library raises into ``MediaDecodeFailed``, in our words.

    Codec libraries raise almost anything on hostile input (OSError, ValueError, struct.error, MemoryError, ...), and
    none of it may reach a client as an internal error. What they say may hold addresses and the client's data; the
    place in their source that the log names says as much.
    """
    try:
        yield
    except (TesseraError, DecodeCancelled):
        raise
    except MemoryError as error:
        raise MediaTooLarge(f"The {what} needs more memory than there is to decode.") from error
    except Exception as error:
        log.info("media_undecodable", what=what, error=type(error).__name__, at=_place(error))
        raise MediaDecodeFailed(
            f"The {what} cannot be decoded: it is damaged, cut short or of a kind that this server does not read."
        ) from error


def _place(error: Exception) -> str:
    """File and line of the innermost Python code that an error came through."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{Path(frame.f_code.co_filename).name}:{line}"
