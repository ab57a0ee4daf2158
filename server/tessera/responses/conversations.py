"""Conversations: items in their order, each tenant's in one slot of a cluster, with limits of their own."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import orjson
import redis.asyncio as aioredis

from tessera.queue import Script, reach
from tessera.responses.lua import source
from tessera.settings import Settings

_VERBS = ("put", "append", "turn", "items", "drop", "remove")
_TOO_LARGE, _GONE = -1, -2
_ID = re.compile(r"conv_[0-9a-f]{32}", re.ASCII)
_ITEM_FIELD = b"item:"


def new_conversation_id() -> str:
    """A fresh id."""
    return f"conv_{secrets.token_hex(16)}"


class ConversationGone(Exception):
    """The tenant has no conversation of that id, or no longer."""


class ConversationTooLarge(Exception):
    """It would have more bytes than a conversation may."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item.

    Attributes:
        place: they are in the order of these.
        said: as it was sent, or came of a response.
    """

    place: int
    id: str
    said: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, as it stands.

    Attributes:
        created_at: Unix time in seconds.
        last: place of the last item that was ever added.
        turn: id of the response that goes on from it now; empty: none does.
        turn_ms: how long that one has.
        nbytes: of its items.
    """

    id: str
    created_at: int
    metadata: dict[str, str]
    items: tuple[Item, ...] = ()
    last: int = 0
    turn: str = ""
    turn_ms: int = 0
    nbytes: int = 0

    @classmethod
    def restore(cls, conversation_id: str, fields: dict[bytes, bytes], turn_ms: int) -> Self:
        """From what Redis has. Raises ``KeyError``, ``TypeError`` or ``ValueError`` where it is damaged."""
        known = orjson.loads(fields[b"meta"])
        stored = {int(name[len(_ITEM_FIELD) :]): raw for name, raw in fields.items() if name.startswith(_ITEM_FIELD)}
        items = tuple(Item(place, *orjson.loads(raw)) for place, raw in sorted(stored.items()))
        turn, nbytes = fields.get(b"turn", b"").decode(), sum(map(len, stored.values()))
        last = int(fields.get(b"last", 0))
        return cls(conversation_id, known["created_at"], known["metadata"], items, last, turn, turn_ms, nbytes)


class Conversations:
    """Those of all tenants. Methods raise ``QueueUnavailable`` where Redis cannot be reached in time."""

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        self._settings = settings
        self._scripts = {verb: Script(redis, source(verb)) for verb in _VERBS}
        self._limits = (settings.responses_max_per_tenant, settings.responses_max_bytes_per_tenant)

    async def put(self, tenant: str, conversation: Conversation, *, new: bool) -> None:
        """Keep a conversation, or change what is said of it; not its items.

        Raises:
            ConversationGone: it is not new, and not there.
        """
        meta = orjson.dumps({"created_at": conversation.created_at, "metadata": conversation.metadata})
        if await self._call("put", tenant, conversation.id, int(new), *self._limits, "meta", meta) == _GONE:
            raise ConversationGone

    async def find(self, tenant: str, conversation_id: str) -> Conversation:
        """A tenant's conversation, with its items. Raises ``ConversationGone``."""
        if not _ID.fullmatch(conversation_id):
            raise ConversationGone
        flat, turn_ms = await self._call("items", tenant, conversation_id)
        try:
            return Conversation.restore(conversation_id, dict(zip(flat[::2], flat[1::2], strict=True)), turn_ms)
        except (KeyError, TypeError, ValueError) as error:
            raise ConversationGone from error  # or damaged: there is nothing to be done with it

    async def append(
        self, tenant: str, conversation_id: str, items: Iterable[tuple[str, dict[str, Any]]], *, turn: str = ""
    ) -> int:
        """Add items, by id, behind all others.

        Args:
            turn: the response that they are of, which has had its turn then; where it has not, nothing is added.

        Returns:
            The place of the first one; 0 where nothing was added.

        Raises:
            ConversationGone, ConversationTooLarge
        """
        most = self._settings.responses_max_bytes
        packed = [orjson.dumps(item) for item in items]
        first = int(await self._call("append", tenant, conversation_id, turn, *self._limits, most, *packed))
        if first == _GONE:
            raise ConversationGone
        if first == _TOO_LARGE:
            raise ConversationTooLarge
        return first

    async def take_turn(self, tenant: str, conversation: Conversation, response_id: str) -> bool:
        """A response goes on from it, as it stands. Returns False where another one does, or something was added.

        Raises:
            ConversationGone
        """
        taken = await self._call("turn", tenant, conversation.id, "", response_id, conversation.last)
        if taken == _GONE:
            raise ConversationGone
        return bool(taken)

    async def leave_turn(self, tenant: str, conversation_id: str, response_id: str) -> None:
        """The response has come to nothing."""
        await self._call("turn", tenant, conversation_id, response_id, "")

    async def drop(self, tenant: str, conversation_id: str, place: int) -> bool:
        """Forget an item. Returns whether it was there."""
        return bool(await self._call("drop", tenant, conversation_id, place))

    async def remove(self, tenant: str, conversation_id: str) -> None:
        """Forget a conversation, and all its items."""
        await self._call("remove", tenant, conversation_id)

    async def _call(self, verb: str, tenant: str, *arguments: Any) -> Any:
        prefix = f"{self._settings.redis_prefix}:{{conversations:{tenant}}}:"
        async with reach(self._settings):
            keep_ms = self._settings.responses_ttl_s * 1000
            return await self._scripts[verb](keys=[f"{prefix}bytes"], args=[prefix, keep_ms, *arguments])
