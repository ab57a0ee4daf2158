"""A job: one HTTP request on its way to vLLM's application, and the lease under which a worker runs it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson

from tessera.settings import DEFAULT_TENANT

# As the rows of the gateway's table of endpoints say it.
_OF_ANSWERS = ("chatcmpl-", "cmpl-", "embd-", "classify-", "pooling-", "score-", "resp_")


def new_job_id(request_id: str = "job") -> str:
    """A fresh job id: the id of its request, which clients choose and repeat as they like, and 128 random bits.

    Whoever knows it may read and cancel the job, so nobody must be able to guess it.
    """
    return f"{request_id}-{secrets.token_hex(16)}"


# Of a job that asks how many tokens an item is to the model's own processor (``{"modality", "url",
# "mm_processor_kwargs"}``); the answer has ``tokens``.
ITEM_COUNT_PATH = "/tessera/item-count"

# Answers to these are made of vLLM's, which has other forms for them than OpenAI.
SPEECH_PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")


def spellings_of(request_id: str) -> set[str]:
    """Ids that a job may have whose client says this: vLLM makes a longer one of it for the `id` of an answer."""
    return {request_id, *(request_id.removeprefix(prefix) for prefix in _OF_ANSWERS)}


class Named(Protocol):
    """Whatever names a job: its model and its id."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def model(self) -> str:
        """The model whose queue it is, or was, in."""


@dataclass(frozen=True, slots=True)
class JobName:
    """Nothing but that."""

    id: str
    model: str


class PartTokens(NamedTuple):
    """A part of a request that is no text.

    Attributes:
        path: as ``messages[0].content[1]``.
        tokens: that it is to be; None: nobody knows.
    """

    path: str
    modality: str
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """A request as the gateway hands it over.

    Attributes:
        id: unique; also vLLM's request id.
        model: the model whose queue it goes to.
        path: path in vLLM's application, such as ``/v1/chat/completions``.
        body: the JSON body, with references in place of media bytes.
        sequences: sequences that it occupies in the engine's batch (``n`` times the number of prompts).
        hide_usage: the client did not ask for the usage chunk that the worker asks vLLM for.
        stream: the answer is a stream of events.
        tenant: whose it is.
        parts: its media, where the answer is to say what each part was.
        batch: a line of a batch, which gives way to people.
        echo: members of the answer that the gateway has seen to: they are said in place of what vLLM says of them.
        about: for who asks what became of it: what the gateway knows of its media, and how long it took there.
        trace: headers of the trace that it belongs to.
        adapter: the LoRA adapter of its model that it asks for; empty: the model itself.
    """

    id: str
    model: str
    path: str
    body: bytes
    sequences: int = 1
    hide_usage: bool = False
    stream: bool = False
    tenant: str = DEFAULT_TENANT
    parts: tuple[PartTokens, ...] = ()
    batch: bool = False
    echo: dict[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, str] = field(default_factory=dict)
    adapter: str = ""

    @classmethod
    def restore(cls, job_id: str, model: str, meta: bytes, body: bytes, sequences: int) -> Job:
        """From what was stored.

        Raises:
            KeyError, TypeError, ValueError: ``meta`` is not what ``meta()`` gives.
        """
        known = orjson.loads(meta)
        if not isinstance(known, dict):
            raise TypeError("a job's description is an object")
        stream, tenant = known.get("stream", False), known.get("tenant", DEFAULT_TENANT)
        parts = tuple(PartTokens(*part) for part in known.get("parts", ()))
        given = known.get("trace")
        trace = given if isinstance(given, dict) else {}
        of_client = (known["hide_usage"], stream, tenant, parts, known.get("batch", False))
        echo = known.get("echo", {})
        further: dict[str, Any] = {"trace": trace, "adapter": known.get("adapter", "")}
        return cls(job_id, model, known["path"], body, sequences, *of_client, echo, **further)

    def meta(self) -> bytes:
        """What travels beside the body."""
        known: dict[str, Any] = {"path": self.path, "hide_usage": self.hide_usage, "stream": self.stream}
        known["tenant"] = self.tenant
        if self.parts:
            known["parts"] = list(map(tuple, self.parts))
        if self.batch:
            known["batch"] = True
        further = {"echo": self.echo, "about": self.about, "trace": self.trace, "adapter": self.adapter}
        return orjson.dumps(known | {name: told for name, told in further.items() if told})


@dataclass(frozen=True, slots=True)
class Lease:
    """A job in the hands of one worker.

    Attributes:
        epoch: rises with every delivery (it is the time of it, ms); what an older epoch writes is refused.
        attempts: deliveries so far, this one included.
        wait_ms: time between enqueueing, or the loss of the worker before, and this delivery.
        written: entries of the reply that earlier workers wrote; this one goes on behind them.
        width: sequences that it takes up in this worker's engine.
    """

    job: Job
    epoch: int
    attempts: int
    wait_ms: int
    written: int = 0
    width: int = 1

    @classmethod
    def parse(cls, model: str, reply: list[Any]) -> Lease:
        """From one element of what ``lease.lua`` returns."""
        job_id, epoch, attempts, wait_ms, sequences, meta, body, written, width = reply
        job = Job.restore(job_id.decode(), model, meta, body, sequences)
        return cls(job, epoch, attempts, wait_ms, written, width)


class Leases(list[Lease]):
    """What one claim gave.

    Attributes:
        kept_free: the worker gets nothing else until a job fits that others have passed for long enough.
        some_left: the queue held more than that.
        unreadable: ids and epochs of jobs that it gave and whose description cannot be read.
    """

    def __init__(self, leases: Iterable[Lease] = ()):
        super().__init__(leases)
        self.kept_free = False
        self.some_left = False
        self.unreadable: list[tuple[bytes, int]] = []

    @property
    def of_batches(self) -> int:
        """How many of them are jobs of batches."""
        return sum(lease.job.batch for lease in self)

    @classmethod
    def parse_all(cls, model: str, rows: Iterable[list[Any]]) -> Leases:
        """From the rows that ``lease.lua`` returns."""
        leases = cls()
        for row in rows:
            try:
                leases.append(Lease.parse(model, row))
            except (KeyError, TypeError, ValueError):
                leases.unreadable.append((row[0], row[1]))
        return leases


class Lost(list[str]):
    """Ids of jobs that a worker no longer holds, though it asked to.

    Attributes:
        widths: sequences that some of the others take up from now on, by id: they need not run alone any more.
    """

    def __init__(self, job_ids: Iterable[str] = ()):
        super().__init__(job_ids)
        self.widths: dict[str, int] = {}
