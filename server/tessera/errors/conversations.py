"""What can go wrong with conversations."""

from __future__ import annotations

from tessera.errors.rejections import InvalidRequest


class ConversationMissing(InvalidRequest):
    """The tenant has no conversation of that id, or no longer."""

    status = 404
    code = "conversation_not_found"


class ConversationLocked(InvalidRequest):
    """A response goes on from the conversation at the moment."""

    status = 409
    code = "conversation_locked"


class ConversationItemMissing(InvalidRequest):
    """The conversation has no item of that id."""

    status = 404
    code = "conversation_item_not_found"
