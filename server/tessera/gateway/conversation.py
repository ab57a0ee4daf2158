"""Messages: who they are from, and which call of a tool they answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from tessera.errors import InvalidRequest, MissingField
from tessera.gateway.body import Document, Endpoint, Path, written

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def conversations_of(document: Document, endpoint: Endpoint) -> Iterator[tuple[Path, Any]]:
    """Where a request has a list of messages, or what it has in place of one."""
    for name in dict.fromkeys((*endpoint.conversation, *endpoint.conversations)):
        value = document.value.get(name)
        # A field that may hold texts as well was checked to hold one thing alone.
        if value is None or (name in endpoint.fields and not _holds_objects(value)):
            continue
        if name in endpoint.conversations and (name not in endpoint.conversation or _is_nested(value)):
            yield from (((name, i), each) for i, each in enumerate(value))
        else:
            yield (name,), value


def check_conversation(document: Document, endpoint: Endpoint, further_roles: Collection[str] = ()) -> None:
    """Check the messages.

    Args:
        further_roles: those that the model's chat template knows besides.

    Raises:
        InvalidRequest, MissingField: naming the message, or what is wrong in it.
    """
    # A request may bring a template of its own, which has whatever roles it likes.
    any_role = document.value.get("chat_template") is not None
    for at, messages in conversations_of(document, endpoint):
        if not isinstance(messages, list):
            raise InvalidRequest(f"`{written(at)}` must be an array.", param=written(at))
        if not messages:
            raise MissingField(f"`{written(at)}` must not be empty.", param=written(at))
        _check_messages(messages, at, (*ROLES, *further_roles), any_role=any_role)


def _holds_objects(value: Any) -> bool:
    return _is_list(value) and (isinstance(value[0], dict) or (_is_list(value[0]) and isinstance(value[0][0], dict)))


def _is_nested(value: Any) -> bool:
    return _is_list(value) and isinstance(value[0], list)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _check_messages(messages: list[Any], at: Path, roles: Collection[str], *, any_role: bool) -> None:
    called: set[Any] = set()
    for i, message in enumerate(messages):
        path = written((*at, i))
        if not isinstance(message, dict):
            raise InvalidRequest(f"`{path}` must be an object.", param=path)
        role = message.get("role")
        if role is None:
            raise MissingField(f"`{path}.role` is required.", param=f"{path}.role")
        if not isinstance(role, str) or not (any_role or role in roles):
            raise InvalidRequest(f"`{path}.role` must be one of {', '.join(roles)}.", param=f"{path}.role")
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
