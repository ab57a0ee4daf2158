"""Which of its targets a request for an alias gets, by their weights."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from hashlib import blake2b

# As many as a float between 0 and 1 has, less one: none of them becomes 1.
_BITS = 52


def choose(weights: Mapping[str, int], key: str) -> str:
    """One of several names.

    With a key it is the same one wherever and whenever it is asked for, and when weights change, or names come and go,
    only as many keys get another one as have to: weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted
    distributed hash tables", SPAA 2005).

    Args:
        weights: above 0.
        key: empty: any of them, by chance.
    """
    if not key:
        return random.choices(list(weights), list(weights.values()))[0]
    return min(weights, key=lambda name: -math.log(_share(name, key)) / weights[name])


def _share(name: str, key: str) -> float:
    """A number between 0 and 1, neither of which it is."""
    digest = blake2b(f"{name}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return ((int.from_bytes(digest) >> (64 - _BITS)) + 0.5) / (1 << _BITS)
