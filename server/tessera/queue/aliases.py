"""Other names of models and adapters that an operator has set: what every gateway sends requests by them to."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
import redis.asyncio as aioredis
import structlog

from tessera.queue.keys import Keys
from tessera.queue.scripts import script

log = structlog.get_logger()

_FULL = -1


@dataclass(frozen=True, slots=True)
class Alias:
    """What a name stands for.

    Attributes:
        targets: names of models and adapters, and their weights: whole numbers, of which one at least is above 0.
        changed_s: when it was set, in Unix time; 0: by the settings, before the server began.
    """

    name: str
    targets: dict[str, int]
    changed_s: int = 0

    def encode(self) -> bytes:
        """As stored."""
        return orjson.dumps({"targets": self.targets, "changed_s": self.changed_s})

    @classmethod
    def decode(cls, name: str, raw: bytes) -> Alias | None:
        """From what was stored; None where that is damaged. Fields of a newer version are ignored."""
        try:
            known = orjson.loads(raw)
            targets, changed_s = known["targets"], known["changed_s"]
            weights = list(targets.values())
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
        sound = all(type(number) is int and number >= 0 for number in (*weights, changed_s)) and any(weights)
        return cls(name, targets, changed_s) if sound else None


class AliasesFull(Exception):
    """There are as many aliases as there may be."""


class Aliases:
    """The records in one Redis. Methods raise redis-py's errors."""

    def __init__(self, redis: aioredis.Redis, keys: Keys):
        self._key = keys.aliases
        self._change, self._all = script(redis, "alias"), script(redis, "aliases")
        self._damaged: set[bytes] = set()

    async def all(self) -> dict[str, Alias]:
        """By name. A record that cannot be read is as if it were not there."""
        stored: list[bytes] = await self._all(keys=[self._key])
        found: dict[str, Alias] = {}
        damaged: set[bytes] = set()
        for name, raw in zip(stored[::2], stored[1::2], strict=True):
            alias = Alias.decode(name.decode(errors="replace"), raw)
            if alias is None:
                damaged.add(name)
            else:
                found[alias.name] = alias
        for name in damaged - self._damaged:
            log.error("alias_damaged", alias=name.decode(errors="replace"), hint="set it anew")
        self._damaged = damaged
        return found

    async def put(self, alias: Alias, *, most: int) -> None:
        """Have a name stand for something, whatever it stood for.

        Raises:
            AliasesFull: it would be one more than ``most``.
        """
        if await self._change(keys=[self._key], args=[alias.name, alias.encode(), most]) == _FULL:
            raise AliasesFull

    async def remove(self, name: str) -> None:
        """Forget one, if it is there."""
        await self._change(keys=[self._key], args=[name, b"", 0])
