"""An endpoint of vLLM's, as far as the gateway has to know what is in the body of a request to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tessera.gateway.body.check import Rule, Schema, rules_of
from tessera.gateway.body.document import READ_FIELDS, Document
from tessera.gateway.body.width import Width
from tessera.prompt import MediaAt, PromptCounter, Translated


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row of the table of endpoints (see ``gateway.endpoints``).

    Attributes:
        path: here and in vLLM's application; also its label in metrics.
        about: what it does, in one sentence.
        tasks: what a model has to be for, at least one of these (see ``ModelCard.tasks``).
        prompts: the fields that carry the prompt. Of several groups a request has one, and all fields of it.
        width: how many sequences of the engine's batch a request takes up.
        fields: schemas of those that are checked before a request is queued. All others pass through.
        described: schemas of those that are checked elsewhere, or more closely, for the description of the API.
        example: a body.
        answers: what vLLM puts before the job's id to make the answer's ``id`` of it.
        streams: an answer can be a stream.
        counted: its prompt and answer have to fit the model's context, which is found out before it is queued.
        form: a body is a form with a file, which becomes JSON as it is read (see ``speech_form``).
        asks_usage: a stream tells of its usage where ``stream_options`` ask for it.
        read: checks a prompt that is no chat's, and finds its media (``MediaPart`` and ``FilePart``).
        translate: makes a chat of such a prompt, as vLLM does: of the document, its media, and what is known of the
            model's chat template (None: nothing). Raises ``Uncountable``.
        processed: options for the model's processor reach it.
        empty: a prompt may be empty.
        conversation: fields that may hold messages.
        conversations: fields that may hold several lists of messages.
        contents: fields that may hold objects with a ``content`` as messages have it, or lists of them.
        rules: ``fields``, compiled.
        reads: fields of which one that stands twice is refused.
    """

    path: str
    about: str
    tasks: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    width: Width
    fields: Mapping[str, Schema]
    example: Mapping[str, Any]
    described: Mapping[str, Schema] = field(default_factory=dict)
    answers: str = ""
    streams: bool = False
    counted: bool = False
    form: bool = False
    asks_usage: bool = True
    read: Callable[[Document], list[Any]] | None = None
    translate: Callable[[Document, MediaAt, PromptCounter | None], Translated] | None = None
    processed: bool = True
    empty: bool = False
    conversation: tuple[str, ...] = ()
    conversations: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = field(init=False)
    reads: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", rules_of(self.fields))
        object.__setattr__(self, "reads", tuple(dict.fromkeys((*READ_FIELDS, *self.prompt_fields))))

    @property
    def several_prompts(self) -> bool:
        """Whether messages or contents of a request may belong to several prompts."""
        return bool(self.conversations or self.contents)

    @property
    def prompt_fields(self) -> tuple[str, ...]:
        """All fields that may carry a prompt."""
        return tuple(dict.fromkeys(name for group in self.prompts for name in group))
