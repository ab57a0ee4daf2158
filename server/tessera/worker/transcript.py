"""What the engine core gave the requests of one job: what is recorded as it comes, and what is to be given again."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Protocol

from tessera.worker.steps import Step

# The job in whose name vLLM's application is called; tasks that it starts inherit it.
current: ContextVar[Transcript | None] = ContextVar("transcript", default=None)


class Codec(Protocol):
    """How steps are stored; ``steps.StepCodec``, but for tests without vLLM."""

    def encode(self, output: Any) -> bytes:
        """The content of a step."""
        ...

    def decode(self, content: bytes) -> Any:
        """The output that was encoded. Raises ``ValueError``."""
        ...

    def pack(self, request_id: str, steps: Iterable[Step]) -> bytes:
        """One take of a request."""
        ...

    def unpack(self, takes: Iterable[bytes]) -> Iterable[tuple[str, list[Step]]]:
        """Request ids and steps of takes, several of which may be joined. Raises ``ValueError``."""
        ...


class Transcript:
    """The record of one job, over all workers that ran it.

    Args:
        recorded: takes of earlier workers, which are given to the application again before anything new.

    Raises:
        ValueError: ``recorded`` cannot be read.
    """

    def __init__(self, codec: Codec, recorded: Iterable[bytes] = ()):
        self.codec = codec
        self._past: defaultdict[str, deque[list[tuple[Step, Any]]]] = defaultdict(deque)
        self._fresh: list[bytes] = []
        for request_id, steps in codec.unpack(recorded):
            self._past[request_id].append([(step, codec.decode(step.content)) for step in steps])

    def past(self, request_id: str) -> deque[list[tuple[Step, Any]]]:
        """Takes of a request that are to be given again, oldest first: steps, and the outputs that they were."""
        return self._past.pop(request_id, deque())

    def take(self, request_id: str, steps: Iterable[Step]) -> None:
        """Record what the application has just taken."""
        self._fresh.append(self.codec.pack(request_id, steps))

    def drain(self) -> bytes:
        """What was recorded since the last call; to be written together with what the application made of it."""
        if not self._fresh:
            return b""
        fresh, self._fresh = self._fresh, []
        return b"".join(fresh)
