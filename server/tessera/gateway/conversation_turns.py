"""What a response does to its conversation when it ends."""

from __future__ import annotations

from contextlib import suppress

import orjson

from tessera.gateway.response_object import items_of
from tessera.responses import ConversationGone, Conversations, StoredResponse


class ConversationTurns:
    """Methods raise ``QueueUnavailable`` where Redis cannot be reached. Responses of no conversation change nothing."""

    def __init__(self, conversations: Conversations):
        self._conversations = conversations

    async def add(self, tenant: str, ended: StoredResponse) -> None:
        """Add what was asked and what came of it; it does so once, whoever sees that it has ended."""
        if not ended.conversation:
            return
        asked = orjson.loads(ended.input)
        said = [(item["id"], own) for item, own in zip(items_of(ended), asked, strict=True)]
        came = [(str(item.get("id", "")), item) for item in ended.output()]
        with suppress(ConversationGone):
            await self._conversations.append(tenant, ended.conversation, [*said, *came], turn=ended.id)

    async def leave(self, tenant: str, stored: StoredResponse) -> None:
        """Nothing has come of it: others may go on."""
        if stored.conversation:
            await self._conversations.leave_turn(tenant, stored.conversation, stored.id)
