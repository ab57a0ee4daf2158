"""Messages: who they are from, and which call of a tool they answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tessera.errors import InvalidRequest, MissingField
from tessera.gateway.body import Document

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def check_conversation(document: Document, further_roles: Collection[str] = ()) -> None:
    """Check the messages.

    Args:
        further_roles: those that the model's chat template knows besides.

    Raises:
        InvalidRequest, MissingField: naming the message, or what is wrong in it.
    """
    messages = document.value.get("messages", [])
    if not isinstance(messages, list):
        raise InvalidRequest("`messages` must be an array.", param="messages")
    # A request may bring a template of its own, which has whatever roles it likes.
    any_role = document.value.get("chat_template") is not None
    called: set[Any] = set()
    for i, message in enumerate(messages):
        path = f"messages[{i}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"`{path}` must be an object.", param=path)
        role = message.get("role")
        if role is None:
            raise MissingField(f"`{path}.role` is required.", param=f"{path}.role")
        if not isinstance(role, str) or not (any_role or role in ROLES or role in further_roles):
            known = ", ".join((*ROLES, *further_roles))
            raise InvalidRequest(f"`{path}.role` must be one of {known}.", param=f"{path}.role")
        if role == "assistant":
            called |= _calls(message)
        elif role == "tool":
            _check_answers(message, called, path)


def _calls(message: dict[str, Any]) -> set[Any]:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return set()
    return {call["id"] for call in calls if isinstance(call, dict) and isinstance(call.get("id"), str)}


def _check_answers(message: dict[str, Any], called: set[Any], path: str) -> None:
    identity, param = message.get("tool_call_id"), f"{path}.tool_call_id"
    if identity is None or identity == "":
        raise MissingField(f"`{param}` is required: it says which call the result is of.", param=param)
    if not isinstance(identity, str):
        raise InvalidRequest(f"`{param}` must be a string.", param=param)
    if identity not in called:
        raise InvalidRequest(
            f"`{path}` is the result of a call that nobody made: no message of the assistant before it has a tool call "
            f"with the id in `tool_call_id`.",
            param=param,
        )
