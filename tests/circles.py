"""What only Python's collector finds: objects in circles, which it holds up an event loop to look for."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("tessera.", "uvicorn.", "starlette.", "fastapi.")


@contextmanager
def circles() -> Iterator[Counter[str]]:
    """Counts, once the context is over, those made within it: types of the server, and of what it runs on."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    # What an earlier test left may be let go of only now.
    before = set(map(id, gc.get_objects()))
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        made = (type(item) for item in gc.garbage if id(item) not in before)
        names = (f"{kind.__module__}.{kind.__qualname__}" for kind in made)
        found.update(name for name in names if name.startswith(_OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
