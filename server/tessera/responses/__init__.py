"""Responses and conversations that are kept: what was asked, what came of it, what went before, by tenant, in Redis.

The public surface: callers import from here and from nowhere below.
"""

from tessera.responses.conversations import (
    Conversation,
    ConversationGone,
    Conversations,
    ConversationTooLarge,
    Item,
    new_conversation_id,
)
from tessera.responses.record import MOST_ID_CHARACTERS, StoredResponse, is_response_id, response_id_of
from tessera.responses.shelf import Shelf

__all__ = [
    "MOST_ID_CHARACTERS",
    "Conversation",
    "ConversationGone",
    "ConversationTooLarge",
    "Conversations",
    "Item",
    "Shelf",
    "StoredResponse",
    "is_response_id",
    "new_conversation_id",
    "response_id_of",
]
