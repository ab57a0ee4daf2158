"""A process that decodes: gives up what it does not need, then works off tasks until its gateway closes the socket."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import orjson
import structlog

from tessera.errors import TesseraError
from tessera.media.decoding import DecodeJob, decode, measure
from tessera.media.frames import CODEC_THREADS
from tessera.media.limits import Deadline, max_item_bytes
from tessera.media.sandbox import confinement, memory_file
from tessera.media.sandbox.messages import MAX_REQUEST_BYTES, Answer, Request, Task, describe_error
from tessera.settings import MIB, Settings
from tessera.telemetry import media as metrics

_MOST_FILES = 3
# Beyond the item: the header in front of it.
_FILE_ROOM_BYTES = 2 * MIB


def serve(channel: socket.socket, settings: Settings) -> NoReturn:
    """Say what this kernel cannot confine, then answer requests; the process ends with the socket."""
    missing = confinement.confine(
        memory_bytes=settings.media_sandbox_memory_bytes,
        file_bytes=max_item_bytes(settings) + _FILE_ROOM_BYTES,
        cpu_s=int(2 * cpu_seconds(settings)),
    )
    channel.send(orjson.dumps(missing))
    worker = _Worker(settings)
    while True:
        message, files, _, _ = socket.recv_fds(channel, MAX_REQUEST_BYTES, _MOST_FILES)
        if not message:
            os._exit(0)
        try:
            channel.send(worker.answer(Request.decode(message), files).encode())
        finally:
            for descriptor in files:
                os.close(descriptor)


def cpu_seconds(settings: Settings) -> float:
    """CPU time that one task may need: a process that has used so much is replaced after its task."""
    return settings.media_decode_timeout_s * CODEC_THREADS + 1


class _Worker:
    def __init__(self, settings: Settings):
        self._settings = settings
        self._remark: MutableMapping[str, Any] | None = None
        structlog.configure(processors=[self._note])

    def answer(self, request: Request, files: Sequence[int]) -> Answer:
        """Do one task. ``files``: the data, where it is not in the request, and one for each payload."""
        job = request.job
        files = list(files)
        if not job.data:
            job = replace(job, data=memory_file.read(files.pop(0)))
        began, packets = time.monotonic(), _packets()
        self._remark = None
        answer = self._do(request.task, job, Deadline(request.timeout_s), files)
        used = resource.getrusage(resource.RUSAGE_SELF)
        decoded, skipped = (now - before for now, before in zip(_packets(), packets, strict=True))
        return replace(
            answer,
            undecodable=None if self._remark is None else {k: str(v) for k, v in self._remark.items()},
            seconds=time.monotonic() - began,
            packets=(decoded, skipped),
            peak_bytes=used.ru_maxrss * 1024,
            cpu_s=used.ru_utime + used.ru_stime,
        )

    def _do(self, task: Task, job: DecodeJob, deadline: Deadline, files: Sequence[int]) -> Answer:
        try:
            if task is Task.MEASURE:
                return Answer(need_bytes=measure(job, self._settings, deadline))
            payloads = decode(job, self._settings, deadline)
        except TesseraError as error:
            return Answer(error=describe_error(error))
        for descriptor, payload in zip(files, payloads, strict=False):
            memory_file.write(descriptor, *payload)
        return Answer(payload_bytes=[sum(map(len, payload)) for payload in payloads])

    def _note(self, _: Any, __: str, event: MutableMapping[str, Any]) -> NoReturn:
        """Keep what is logged for the answer: this process has nowhere else to say it."""
        self._remark = event
        raise structlog.DropEvent


def _packets() -> tuple[int, int]:
    (family,) = metrics.video_packets.collect()
    counted = {s.labels["outcome"]: int(s.value) for s in family.samples if s.name.endswith("_total")}
    return counted.get("decoded", 0), counted.get("skipped", 0)
