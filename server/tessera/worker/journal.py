"""Opens the record of a job: an empty one, or that of the workers that began it."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.queue import Data, End, Failure, Head, Lease, ReplyLogs
from tessera.queue.entry import decode
from tessera.worker.continuation import Continuation, Mismatch
from tessera.worker.transcript import Codec, Transcript


@dataclass(frozen=True, slots=True)
class Record:
    """What a worker needs to run a job.

    Attributes:
        transcript: None where nothing is recorded: an answer in one piece is simply made again.
        continuation: None where nothing was written yet.
        head: of the reply that was begun.
    """

    transcript: Transcript | None = None
    continuation: Continuation | None = None
    head: Head | None = None


class Journal:
    """Records of one model's jobs.

    Args:
        codec: how steps are stored; None: this engine's cannot be recorded, and its streams end with it.
    """

    def __init__(self, logs: ReplyLogs, codec: Codec | None):
        self._logs = logs
        self._codec = codec

    async def open(self, lease: Lease) -> Record:
        """The record of a job.

        Raises:
            Mismatch: the reply was begun and cannot be gone on with here.
            QueueUnavailable: Redis cannot be reached.
        """
        codec = self._codec if lease.job.stream else None
        if not lease.written:
            return Record(None if codec is None else Transcript(codec))
        if codec is None:
            raise Mismatch("this worker does not record streams")
        try:
            raw, steps = await self._logs.recall(lease)
            head, *entries = [decode(entry) for entry in raw]
            transcript = Transcript(codec, steps)
        except ValueError as error:
            raise Mismatch(str(error)) from error
        if not isinstance(head, Head) or any(isinstance(entry, End | Failure) for entry in entries):
            raise Mismatch("the reply has no beginning, or an end")
        written = b"".join(entry.body for entry in entries if isinstance(entry, Data))
        return Record(transcript, Continuation(written), head)
