"""What a request to ``/v1/responses`` wants beside an answer, and what nobody here can do for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tessera.errors import InvalidRequest
from tessera.gateway.kind import shown

# Of these, vLLM tells the model; all others are tools that OpenAI itself runs.
TOOLS = ("function", "custom", "namespace")
_REFUSED = {
    "prompt": "Prompt templates are not kept here: send `instructions` and `input`.",
    "context_management": "Conversations are not compacted here.",
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to become of a response.

    Attributes:
        background: it runs without a client.
        store: it is kept; None: the client does not say, and it is.
        previous: id of the response that it continues; empty: none.
        conversation: id of the conversation that it goes on from, and is added to; empty: none.
    """

    background: bool
    store: bool | None
    previous: str
    conversation: str = ""

    @property
    def keep(self) -> bool:
        """Whether it is kept, if it can be."""
        return self.store is not False


def read_wishes(body: Mapping[str, Any]) -> Wishes:
    """Read them; their types were checked.

    Raises:
        InvalidRequest: naming what cannot be done.
    """
    for name, why in _REFUSED.items():
        if body.get(name) is not None:
            raise InvalidRequest(why, param=name)
    _check_tools(body.get("tools"))
    previous, conversation = body.get("previous_response_id") or "", _conversation(body.get("conversation"))
    wishes = Wishes(bool(body.get("background")), body.get("store"), previous, conversation)
    if wishes.conversation and previous:
        raise InvalidRequest("Of `conversation` and `previous_response_id` a request has one.", param="conversation")
    if wishes.conversation and not wishes.keep:
        raise InvalidRequest("In a `conversation`, a response is kept: leave `store` out, or send true.", param="store")
    if wishes.background and not wishes.keep:
        raise InvalidRequest("With `background`, a response is kept: leave `store` out, or send true.", param="store")
    return wishes


def _conversation(given: Any) -> str:
    """Its id, which may be told as an object's."""
    return str(given["id"]) if isinstance(given, dict) else given or ""


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise InvalidRequest("`tools` must be an array.", param="tools")
    for i, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in TOOLS:
            known = ", ".join(TOOLS)
            raise InvalidRequest(
                f"Tools of type {shown(kind)} are not run here. Supported: {known}, which the client runs itself.",
                param=f"tools[{i}].type",
            )
