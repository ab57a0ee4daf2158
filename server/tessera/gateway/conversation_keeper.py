"""Conversations, found by whatever gateway is asked, with all that has come of their responses so far."""

from __future__ import annotations

from tessera.errors import ConversationLocked, ConversationMissing
from tessera.gateway.response_keeper import UNKNOWN_FOR_S, ResponseKeeper
from tessera.responses import Conversation, ConversationGone, Conversations, StoredResponse


class ConversationKeeper:
    """Methods raise ``QueueUnavailable`` where Redis cannot be reached.

    Attributes:
        shelf: where they are kept.
    """

    def __init__(self, shelf: Conversations, responses: ResponseKeeper):
        self.shelf = shelf
        self._responses = responses

    async def find(self, tenant: str, conversation_id: str, *, param: str = "conversation_id") -> Conversation:
        """A tenant's conversation.

        Raises:
            ConversationMissing: it is not there, or somebody else's.
        """
        try:
            found = await self.shelf.find(tenant, conversation_id)
            if not found.turn:
                return found
            there = await self._responses.look_at(tenant, found.turn)
            if not there and found.turn_ms > UNKNOWN_FOR_S * 1000:  # it was removed, or had to give way
                await self.shelf.leave_turn(tenant, found.id, found.turn)
            return await self.shelf.find(tenant, conversation_id)
        except ConversationGone as error:
            raise ConversationMissing(
                "There is no conversation of this id, or no longer. `POST /v1/conversations` makes one.", param=param
            ) from error

    async def open(self, tenant: str, conversation_id: str) -> Conversation:
        """A conversation that a response is to go on from.

        Raises:
            ConversationMissing
            ConversationLocked: another response does.
        """
        found = await self.find(tenant, conversation_id, param="conversation")
        if found.turn:
            raise _locked()
        return found

    async def take_turn(self, tenant: str, conversation: Conversation, stored: StoredResponse) -> None:
        """A response goes on from a conversation, as that was read. Raises as ``open`` does."""
        try:
            taken = await self.shelf.take_turn(tenant, conversation, stored.id)
        except ConversationGone as error:
            raise ConversationMissing("The conversation has just been deleted.", param="conversation") from error
        if not taken:
            raise _locked()


def _locked() -> ConversationLocked:
    return ConversationLocked(
        "Another response goes on from this conversation at the moment, or something was just added. Send the request "
        "again when that has ended.",
        param="conversation",
        retry_after_s=1,
    )
