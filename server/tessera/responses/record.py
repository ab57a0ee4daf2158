"""One response that is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Self

import orjson

# What vLLM puts before a job's id, too, to make the id of a request of one turn of it.
_PREFIX = "resp_"
MOST_ID_CHARACTERS = 256
_ID = re.compile(rf"resp_[A-Za-z0-9._:-]{{1,{MOST_ID_CHARACTERS - len(_PREFIX)}}}", re.ASCII)
_ENDED = frozenset({"completed", "incomplete"})


def response_id_of(job_id: str) -> str:
    """The id of the response that a job makes."""
    return _PREFIX + job_id


def is_response_id(text: str) -> bool:
    """Whether a text is the id of a response, be it there or not."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response, as it stands.

    Attributes:
        job_id: of the job that makes it, or made it.
        background: it was asked for without a client that waits for it.
        stream: its answer is a stream of events.
        shape: the response as it is before anything has come of it: an object of OpenAI's, as JSON.
        input: the items that the client sent for this turn, a JSON array.
        previous: id of the response that it continues; empty: none.
        final: the response when it has ended, as JSON; None: that is not known yet.
        conversation: id of the conversation whose turn it is; empty: of none.
    """

    id: str
    model: str
    job_id: str
    background: bool
    stream: bool
    shape: bytes
    input: bytes
    previous: str = ""
    final: bytes | None = None
    conversation: str = ""

    def fields(self) -> dict[str, bytes]:
        """As Redis has it."""
        known: dict[str, Any] = {"model": self.model, "job": self.job_id}
        known |= {"background": self.background, "stream": self.stream}
        if self.conversation:
            known["conversation"] = self.conversation
        fields = {"meta": orjson.dumps(known), "shape": self.shape, "input": self.input}
        if self.previous:
            fields["previous"] = self.previous.encode()
        if self.final is not None:
            fields["final"] = self.final
        return fields

    @classmethod
    def restore(cls, response_id: str, fields: dict[str, bytes | None]) -> Self:
        """From that. Raises ``KeyError``, ``TypeError`` or ``ValueError`` where it is damaged."""
        known = orjson.loads(fields["meta"] or b"")
        previous = (fields.get("previous") or b"").decode()
        shape, given = fields["shape"], fields["input"]
        if shape is None or given is None:
            raise ValueError("a response without its beginning")
        made = (known["model"], known["job"], known["background"], known["stream"])
        return cls(response_id, *made, shape, given, previous, fields.get("final"), known.get("conversation", ""))

    def ended(self, final: dict[str, Any]) -> Self:
        """The same with its end."""
        return replace(self, final=orjson.dumps(final))

    @property
    def usable(self) -> bool:
        """Whether another response may continue it."""
        return self.final is not None and orjson.loads(self.final).get("status") in _ENDED

    def output(self) -> list[dict[str, Any]]:
        """The items that came of it."""
        items: list[dict[str, Any]] = orjson.loads(self.final).get("output", []) if self.final else []
        return items
