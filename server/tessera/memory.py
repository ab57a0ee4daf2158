"""Memory that was needed once and goes back to the system, and memory that is needed for good."""

from __future__ import annotations

import ctypes
import gc
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

# Above this a block is the system's own and goes back when it is freed. Smaller ones are faster to have again.
_LARGE_BYTES = 4 << 20
# Free memory that each thread keeps: what decoding images of ordinary size takes and frees all the time.
_KEPT_BYTES = 16 << 20
# Objects that are made before the youngest are searched for circles. With Python's 700 each step of a few hundred
# streams would begin a search, a twentieth of a gateway's time.
_COLLECT_AFTER = 20_000


def give_back_freed_memory() -> None:
    """Have glibc keep little of what is freed (Linux; elsewhere nothing happens).

    Left alone it takes the largest blocks that were ever freed as a measure, up to 32 MiB, and keeps twice as much in
    each thread: a gateway that has decoded a few hours of sound stays large.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def keep_for_good() -> None:
    """Never look again at what is in memory now: modules, the application and its routes, an engine.

    Python's collector looks through everything from time to time, and holds up the event loop meanwhile: for a hundred
    thousand objects that never go, some 50 ms. What comes later is searched less often than usual, as well.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
