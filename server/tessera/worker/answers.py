"""Which of its answers an endpoint of vLLM's gives."""

from __future__ import annotations

from collections.abc import Callable

from tessera.queue import SPEECH_PATHS, Job
from tessera.worker.answer import Answer, Document, Stream
from tessera.worker.speech_stream import SpeechDocument, SpeechStream
from tessera.worker.typed_stream import (
    COHERE_EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    MessagesStream,
    ResponsesStream,
    TypedDocument,
    usage_of_embeddings,
    usage_of_message,
    usage_of_response,
)

_STREAMS: dict[str, Callable[[Job], Answer]] = {
    RESPONSES: ResponsesStream,
    MESSAGES: MessagesStream,
    **dict.fromkeys(SPEECH_PATHS, SpeechStream),
}
_USAGES = {RESPONSES: usage_of_response, MESSAGES: usage_of_message, COHERE_EMBEDDINGS: usage_of_embeddings}


def answer_of(status: int, job: Job, fingerprint: str | None, *, streamed: bool) -> Answer:
    """The answer to a job, to be fed with what the application writes.

    Args:
        fingerprint: see ``Stream``.
    """
    if not streamed:
        if job.path in SPEECH_PATHS:
            return SpeechDocument(status, job)
        usage_of = _USAGES.get(job.path)
        return Document(status, job) if usage_of is None else TypedDocument(status, job, usage_of)
    typed = _STREAMS.get(job.path)
    return Stream(job, fingerprint) if typed is None else typed(job)
